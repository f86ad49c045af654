"""The playground: one page that `toolgen serve` shows at `/`: search, a chat with every step in sight, a map of the tools.

The page is `index.html`, `style.css` and scripts (`common.js` first, `page.js` last) as they stand here: no build step, and
nothing from elsewhere. What it asks for is in `routes.py`.
"""

from toolgen.serving.playground.routes import add_playground

__all__ = ["add_playground"]
