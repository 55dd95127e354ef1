"""Write tests/chat/golden/templates.json: what transformers makes of every template and conversation.

python -m scripts.golden.chat_templates
"""

import json
from pathlib import Path

from tests.chat.reference import rendered

if __name__ == "__main__":
    golden = json.dumps(rendered(), indent=1, ensure_ascii=False)
    Path("tests/chat/golden/templates.json").write_text(golden + "\n")
