"""The routes of the daemon itself: status, health, metrics, configuration, and what this interface is."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import msgspec

from peerd.control.messages import TEXT, Answer, Request
from peerd.control.router import Route
from peerd.protocol.control.reports import Health, PeerList, Reloaded, Status

if TYPE_CHECKING:
    from peerd.control.service import Service

_encode: Final = msgspec.json.Encoder().encode


async def read_status(service: Service, _request: Request) -> Answer:
    return Answer(_encode(await service.status()))


async def list_peers(service: Service, _request: Request) -> Answer:
    return Answer(_encode(await service.peers()))


async def read_live(service: Service, _request: Request) -> Answer:
    health = await service.health()
    return _health(health, well=health.live)


async def read_ready(service: Service, _request: Request) -> Answer:
    health = await service.health()
    return _health(health, well=health.ready)


async def read_converged(service: Service, _request: Request) -> Answer:
    health = await service.health()
    return _health(health, well=health.converged)


def _health(health: Health, *, well: bool) -> Answer:
    return Answer(_encode(health), status=200 if well else 503)


async def read_metrics(service: Service, _request: Request) -> Answer:
    return Answer((await service.metrics()).encode(), content_type=TEXT)


async def reload(service: Service, _request: Request) -> Answer:
    return Answer(_encode(await service.reload()))


async def pause(service: Service, _request: Request) -> Answer:
    await service.pause()
    return Answer(status=204)


async def resume(service: Service, _request: Request) -> Answer:
    await service.resume()
    return Answer(status=204)


async def read_openapi(_service: Service, _request: Request) -> Answer:
    return Answer(files("peerd.control").joinpath("openapi.json").read_bytes())


_UNWELL: Final = {503: "Not at the moment; `reason` says why."}

ROUTES: Final = (
    Route(
        method="GET",
        pattern="/v1/status",
        handler=read_status,
        about="This device, its spaces, and for every peer whether it is in sync, and if not, why.",
        answer=Status,
    ),
    Route(
        method="GET",
        pattern="/v1/peers",
        handler=list_peers,
        about="The devices that share a space with this one, and how they are reached.",
        answer=PeerList,
    ),
    Route(
        method="GET",
        pattern="/v1/health/live",
        handler=read_live,
        about="Does the daemon answer?",
        answer=Health,
        other_statuses=_UNWELL,
    ),
    Route(
        method="GET",
        pattern="/v1/health/ready",
        handler=read_ready,
        about="Are its spaces open?",
        answer=Health,
        other_statuses=_UNWELL,
    ),
    Route(
        method="GET",
        pattern="/v1/health/converged",
        handler=read_converged,
        about="Is nothing behind, refused or in doubt?",
        answer=Health,
        other_statuses=_UNWELL,
    ),
    Route(
        method="POST",
        pattern="/v1/reload",
        handler=reload,
        about="Read the configuration again.",
        answer=Reloaded,
        refusals=("bad-config",),
    ),
    Route(
        method="POST",
        pattern="/v1/pause",
        handler=pause,
        about="End all links with other devices and take none, until /v1/resume or a restart.",
        status=204,
    ),
    Route(
        method="POST",
        pattern="/v1/resume",
        handler=resume,
        about="Link with other devices again.",
        status=204,
    ),
    Route(method="GET", pattern="/metrics", handler=read_metrics, about="Metrics in the Prometheus text format."),
    Route(method="GET", pattern="/openapi.json", handler=read_openapi, about="This description.", answer=dict),
)
