"""The page at `/`: the API, to read and to try. Its scripts come with BentoML and nothing is loaded from elsewhere.

BentoML's own page would load a tracker from another host.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode

__all__ = ["INDEX", "PAGE_HEADERS"]

_SCRIPT = 'SwaggerUIBundle({url: "./docs.json", dom_id: "#api", validatorUrl: null, tryItOutEnabled: true});'

INDEX = f"""<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width">
    <title>Thinned</title>
    <link rel="stylesheet" href="./static_content/swagger-ui.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <noscript>The API is described in <a href="./docs.json">docs.json</a>.</noscript>
    <p><a href="./ui">Ask the model on a page</a></p>
    <div id="api"></div>
    <script src="./static_content/swagger-ui-bundle.js"></script>
    <script>{_SCRIPT}</script>
  </body>
</html>
"""

_DIGEST = b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
PAGE_HEADERS = {
    # Only what comes from here, and of scripts in the page only ours. The page's own drawing needs styles in elements.
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"connect-src 'self'; font-src 'self' data:; img-src 'self' data:; script-src 'self' 'sha256-{_DIGEST}'; "
    "style-src 'self' 'unsafe-inline'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
"""Sent with the page; `x-content-type-options: nosniff` is sent with every answer."""
