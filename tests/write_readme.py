"""`make readme`: sends the README's requests to a service of its own, and writes the answers into the README.

The text around the answers repeats some of the numbers: read it afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any

from tests.serving import ROOT, run_cli, start_service
from tests.test_readme import SHELL, TOLERANCE, bash, differences

DECIMALS = 4


def shortened(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, list):
        return [shortened(one) for one in value]
    return {key: shortened(one) for key, one in value.items()} if isinstance(value, dict) else value


def laid_out(answer: dict[str, Any]) -> str:
    """An answer as the README shows it: one field on each line."""
    return "{" + ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in answer.items()) + "}\n"


def main() -> int:
    readme = ROOT / "README.md"
    text = readme.read_text()
    with tempfile.TemporaryDirectory() as store:
        os.environ["BENTOML_HOME"] = store
        run_cli("train", "digits")
        with start_service("digits") as service:
            for block in SHELL:
                if block.text.startswith("curl") and block.answer is not None:
                    call = block.text.replace(":3000", f":{service.port}")
                    answer = shortened(json.loads(bash(call, ROOT)))
                    # Each training makes a new version; that alone does not change the README.
                    if list(differences(json.loads(block.answer), answer, TOLERANCE)):
                        asked = f"```bash\n{block.text}```\n\n```json\n"
                        text = text.replace(f"{asked}{block.answer}", f"{asked}{laid_out(answer)}")
    changed = text != readme.read_text()
    readme.write_text(text)
    print("README.md has new answers; read the text around them." if changed else "README.md is as it was.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
