"""Files that are restored: past those that cannot be, shared by processes, and on where an earlier command stopped."""

from diracdiff.restoration.asked import Asked
from diracdiff.restoration.ledger import sentence
from diracdiff.restoration.restoration import Restoration, tallied

__all__ = ["Asked", "Restoration", "sentence", "tallied"]
