"""Checks of a malicious server: it can change its own answers and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.interfaces.server_adversary import ServerAdversary
from bench.types.channels import Channel
from bench.util.errors import BenchError
from bench.util.global_random import GlobalRandom
from bench.util.type_and_shape import type_and_shape


class CheckedAdversary(ServerAdversary):
    """Wraps the server of an attack: gives it copies, and checks its answers.

    Args:
        attack: name of the attack, for messages.
        server: the server of the attack.
        stream: global random state for the attack, so that an answer cannot read the client's
            draws.
    """

    def __init__(self, attack: str, server: ServerAdversary, stream: GlobalRandom) -> None:
        self._attack, self._server, self.stream = attack, server, stream

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Return the answer of the attack's server to copies of both arguments.

        Raises:
            BenchError: an answer is missing, or has another shape or type than the honest one.
        """
        with self.stream.active():
            found = self._server.answer(
                {channel: tensor.detach().clone() for channel, tensor in sent.items()},
                {name: tensor.detach().clone() for name, tensor in honest.items()},
            )
        if not isinstance(found, Mapping) or set(found) != set(honest):
            given = (
                ", ".join(sorted(map(str, found)))
                if isinstance(found, Mapping)
                else type(found).__name__
            )
            raise BenchError(
                f"attack {self._attack!r}: its server must answer {', '.join(sorted(honest))}, "
                f"got {given}"
            )
        for name, tensor in honest.items():
            got = found[name]
            if (
                not isinstance(got, Tensor)
                or got.shape != tensor.shape
                or got.dtype != tensor.dtype
            ):
                raise BenchError(
                    f"attack {self._attack!r}: its server's {name} must be "
                    f"{type_and_shape(tensor)}, got {type_and_shape(got)}"
                )
        return found
