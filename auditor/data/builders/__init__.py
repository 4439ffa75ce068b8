"""Facts built from what people have: texts, tables, hub data sets, tasks."""
