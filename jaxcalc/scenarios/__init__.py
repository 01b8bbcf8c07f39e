"""scenarios: functions with their shapes and sizes, on which routes and prices are judged."""
