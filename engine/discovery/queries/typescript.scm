(class_declaration name: (_) @class.name) @class.def
(abstract_class_declaration name: (_) @class.name) @class.def
(interface_declaration name: (_) @class.name) @class.def
(enum_declaration name: (_) @class.name) @class.def
(internal_module name: (_) @scope.name) @scope.def
(module name: (_) @scope.name) @scope.def
(function_declaration name: (_) @function.name) @function.def
(generator_function_declaration name: (_) @function.name) @function.def
(method_definition name: (_) @method.name) @method.def
(public_field_definition name: (_) @method.name value: [(arrow_function) (function_expression)]) @method.def
(variable_declarator name: (identifier) @function.name value: [(arrow_function) (function_expression)]) @function.def
(variable_declarator name: (identifier) @class.name value: (class)) @class.def
(expression_statement (assignment_expression
  left: (member_expression property: (_) @function.name)
  right: [(arrow_function) (function_expression)])) @function.def

(lexical_declaration . (variable_declarator) @inner .) @outer
(variable_declaration . (variable_declarator) @inner .) @outer
(export_statement declaration: (_) @inner) @outer
(comment) @comment
(decorator) @prefix
