"""Who has an item, and how often it changes hands.

| from | to | what it is |
|---|---|---|
| nobody | anybody | the first assignment, no handoff |
| a team's queue | an owner of the team, the first or the same as before | picked up, no handoff |
| an owner | the queue of the owner's team | put back, no handoff |
| a team's queue | another owner of the team than before | handoff, level owner |
| an owner | another owner of the team | handoff, level owner |
| a team | another team | handoff, level team |
| a bot | a human of the same team | handoff, level owner, from a bot |

A handoff back to who held the item before (at its level) is a ping-pong as well.
"""

from __future__ import annotations

from tribo.measure import promises
from tribo.measure.fold import Fold
from tribo.measure.history import Item
from tribo_schemas.event import Event

BOT = "bot"


def assigned(fold: Fold, item: Item, event: Event) -> None:
    """The item has a new holder, or the same one again."""
    fold.unpause(item)
    is_bot = event.by == "bot"
    if event.team is None and event.owner is None and not is_bot:
        return
    team = event.team if event.team is not None else item.team
    owner = event.owner
    if is_bot and event.team is None and owner is None:
        owner = BOT
    before = item.assigned_event
    if before is not None and (team, owner) == (item.team, item.owner):
        return
    old_team, old_owner, old_bot = item.team, item.owner, item.bot
    last_owner = item.last_owner if team == old_team else None
    _hold(fold, item, team, owner, is_bot)
    item.assigned_event = fold.reference
    if before is not None:
        level = "team" if team != old_team else "owner"
        counts = level == "team" or (old_bot and not is_bot)
        if not counts and owner is not None:
            counts = owner != (old_owner if old_owner is not None else (last_owner if last_owner is not None else owner))
        if counts and not item.done:
            back = team in item.past_teams if level == "team" else owner is not None and owner in item.past_owners
            _handoff(fold, item, level, back, (before, fold.reference), old_team, old_owner, old_bot and not is_bot)
        if old_team not in item.past_teams:
            item.past_teams += (old_team,)
        if old_owner not in item.past_owners:
            item.past_owners += (old_owner,)


def _hold(fold: Fold, item: Item, team: str | None, owner: str | None, is_bot: bool) -> None:
    if team != item.team:
        item.last_owner = None
    item.team, item.owner, item.bot = team, owner, is_bot
    for promise in item.promises.values() if item.promises else ():
        if promise.team is None:
            fold.pledge(item, promise)
        if promise.had_by is not None and fold.at <= promise.breaks_at:  # the due was looked at before this came
            promise.had_by = None
            if promise.unknown:
                promises.no_longer_unknown(fold, item, promise)
    if fold.standards.judges_total:
        item.held += ((fold.at, team, owner),)
    if owner is not None:
        item.last_owner = owner
    if not item.first_resolved:
        if (owner is not None or is_bot) and team not in item.owned:
            item.owned += (team,)
        if owner is None and not is_bot:
            if team not in item.queues:
                item.queues += (team,)
        elif (owner or BOT) not in item.holders:
            item.holders += (owner or BOT,)
        fold.step(item, len(item.holders) + sum(queue not in item.owned for queue in item.queues))


def _handoff(
    fold: Fold, item: Item, level: str, back: bool, evidence: tuple[str, ...], team: str | None, owner: str | None, from_bot: bool
) -> None:
    fold.add(item, "handoffs")
    if level == "team":
        fold.add(item, "team_handoffs")
    fold.find(
        "handoff", item, fold.reference, evidence, level=level, from_team=team, from_owner=owner, from_bot=from_bot or None
    )
    if back:
        fold.add(item, "ping_pongs")
        fold.find(
            "ping_pong", item, fold.reference, evidence, level=level, from_team=team, from_owner=owner, from_bot=from_bot or None
        )
