(class_definition name: (identifier) @class.name) @class.def
(function_definition name: (identifier) @function.name) @function.def
(decorated_definition definition: (_) @inner) @outer
