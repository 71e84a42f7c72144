(struct_item name: (_) @class.name) @class.def
(enum_item name: (_) @class.name) @class.def
(union_item name: (_) @class.name) @class.def
(trait_item name: (_) @class.name) @class.def
(impl_item type: (_) @container.name) @container.def
(mod_item name: (_) @scope.name body: (_)) @scope.def
(function_item name: (_) @function.name) @function.def
(function_signature_item name: (_) @function.name) @function.def

(line_comment) @comment
(block_comment) @comment
(attribute_item) @prefix
