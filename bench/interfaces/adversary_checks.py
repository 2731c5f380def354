"""A malicious server that can change nothing but its own answers."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from bench.interfaces.server_adversary import ServerAdversary
from bench.types.channels import Channel
from bench.util.errors import BenchError
from bench.util.global_random import GlobalRandom
from bench.util.type_and_shape import type_and_shape


class CheckedAdversary(ServerAdversary):
    """Hands copies to an attack's server, and checks what it answers.

    Args:
        attack: name, for the sentence.
        stream: global draws of the attack's own. Those of the client must not be readable from
            inside an answer.
    """

    def __init__(self, attack: str, server: ServerAdversary, stream: GlobalRandom) -> None:
        self._attack, self._server, self.stream = attack, server, stream

    def answer(
        self, sent: Mapping[Channel, Tensor], honest: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
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
                f"attack {self._attack!r}: its server must answer {', '.join(sorted(honest))}, got {given}"
            )
        for name, tensor in honest.items():
            got = found[name]
            if (
                not isinstance(got, Tensor)
                or got.shape != tensor.shape
                or got.dtype != tensor.dtype
            ):
                raise BenchError(
                    f"attack {self._attack!r}: its server's {name} must be {type_and_shape(tensor)}, got {type_and_shape(got)}"
                )
        return found
