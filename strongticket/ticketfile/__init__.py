"""Keep tickets in files: seed, packed mask and digests, so that a network of a million weights is a file of kilobytes.

Format ``slt-ticket`` is a safetensors container: one U8 tensor ``<parameter>.mask`` per masked parameter, one
tensor ``<name>.dense`` per parameter, statistic or count that is not random, and exactly one metadata key ``slt``:
canonical JSON with the recipe of the source, the list of parameters (the random ones in the order of the architecture,
then its state) with their digests, certificates, provenance, and a checksum of itself.

A mask is stored in whichever of two encodings is smaller (``bits`` in a tie):

- ``bits``: one bit per entry, C order, little-endian within a byte, spare bits zero;
- ``gaps``: for each kept flat index in rising order, the number of dropped entries before it since the kept one before,
  as a LEB128 number (7 bits per byte, low bits first, no padding). No such list can repeat an index or go backwards.

That is version 1, of plain tickets. A ticket whose kept weights are read in some other way (see `Reading`) is saved as
version 2: a masked parameter then says its ``kind``, and may have tensors ``<parameter>.factors`` and
``<parameter>.redraws`` with a number for each kept weight, see `ticketfile.numbers`. Readers of either version refuse a
newer one.

Everything in the container's header follows from the JSON, so `load` makes the header again and compares; the JSON
carries its own sha256, each tensor's sha256, and the sha256 of the kept weights (float32, little-endian, by flat
index), which `load` regenerates from the seed. So no bit of a file can change without `load` refusing it.
"""

from strongticket.ticketfile.errors import TicketFileError
from strongticket.ticketfile.file import describe, dumps, load, loads, save

__all__ = ["TicketFileError", "describe", "dumps", "load", "loads", "save"]
