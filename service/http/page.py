"""The page at `/`: the API, to read and to try. Its scripts come with BentoML and nothing is loaded from elsewhere.

BentoML's own page would load a tracker from another host.
"""

from __future__ import annotations

__all__ = ["INDEX"]

INDEX = """<!DOCTYPE html>
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
    <div id="api"></div>
    <script src="./static_content/swagger-ui-bundle.js"></script>
    <script>SwaggerUIBundle({url: "./docs.json", dom_id: "#api", validatorUrl: null, tryItOutEnabled: true});</script>
  </body>
</html>
"""
