"""Print the JSON Schema of `audit.json`, as it lies in `audit.schema.json`."""

import json

from .schema import json_schema

print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
