"""How much memory an Attempt may take on a Cell, and how much a Node has.

Offers and Receipts are JSON in columns of text; rows from before are read by `from_stored`, and stay as they are. A Cell
from before is taken at what its Nodes said they have, until it says hello again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LARGEST_NODE = """
UPDATE cells SET memory_bytes =
    COALESCE((SELECT MAX(nodes.memory_bytes) FROM nodes WHERE nodes.cell = cells.cell), 0)
"""


def upgrade() -> None:
    op.add_column("cells", sa.Column("memory_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("nodes", sa.Column("machine_memory_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(_LARGEST_NODE)
