(table . (_) @table.name) @table.def
(table_array_element . (_) @table_array.name) @table_array.def
