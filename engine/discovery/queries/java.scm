(class_declaration name: (_) @class.name) @class.def
(interface_declaration name: (_) @class.name) @class.def
(enum_declaration name: (_) @class.name) @class.def
(record_declaration name: (_) @class.name) @class.def
(annotation_type_declaration name: (_) @class.name) @class.def
(method_declaration name: (_) @method.name) @method.def
(constructor_declaration name: (_) @method.name) @method.def
(compact_constructor_declaration name: (_) @method.name) @method.def

(block_comment) @comment
