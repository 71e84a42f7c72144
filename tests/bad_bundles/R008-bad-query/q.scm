; finds functions
(function_def name: (identifier) @name) @node
