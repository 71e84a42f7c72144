(type_spec name: (_) @class.name) @class.def
(function_declaration name: (_) @function.name) @function.def
(method_declaration
  receiver: (parameter_list (parameter_declaration type: (_) @method.owner))
  name: (_) @method.name) @method.def

(type_declaration . (type_spec) @inner .) @outer
(comment) @comment
