"""What can go wrong with a backup."""

from __future__ import annotations

from bithive.errors import Conflict, Fault, Forbidden, NotFound, Unavailable, Unsupported


class BackupAbsent(NotFound):
    code, title = "backup-absent", "There is no such backup"


class BackupDamaged(Fault):
    code, title = "backup-damaged", "Stored bytes of a backup are not the bytes that were written"


class BackupNewer(Unsupported):
    code, title = "backup-newer", "A newer version of BitHive made this backup"


class BackupBusy(Unavailable):
    code, title = "backup-busy", "The backup cannot be made at the moment"


class BackupFull(Unavailable):
    code, title = "backup-full", "The disk of the backup is full"


class RestoreRefused(Conflict):
    code, title = "restore-refused", "A restore never replaces what is there"


class KeysLocked(Forbidden):
    code, title = "keys-locked", "This passphrase does not open the keys of the backup"


class ToolAbsent(Unavailable):
    code, title = "tool-absent", "A program that this needs is not installed"
