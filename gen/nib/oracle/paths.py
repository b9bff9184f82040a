"""Which uplink a new flow gets: rules, policies, tiers and weights."""

from dataclasses import replace
from fractions import Fraction

from nib.oracle.lookup import first_rule
from nib.oracle.prefixes import belongs
from nib.oracle.values import Address, Case, Choice, Reason
from nib.policies import Policy, Share

CERTAIN = Fraction(1)


def by_rule(case: Case, source: Address | None) -> tuple[tuple[Choice, ...], tuple[Reason, ...]]:
    """What the first rule that fits decides, and what it says.

    No choice: no rule fits, or it sends the flow where all others go.
    """
    number = first_rule(case, source)
    if number is None:
        return (), ()
    rule = case.plan.flow_rules[number]
    policy = _policy(case, rule.policy)
    said = Reason(f"the first rule that matches uses {rule.policy}", rule.origin)
    if rule.policy == "default":
        return (), (said,)
    shares, tier = _carriers(case, policy)
    if not shares and policy.when_down == "any":
        return (), (said, Reason(f"none of the uplinks of {policy.name} is alive", rule.origin))
    if not shares:
        dead = Reason(f"none of the uplinks of {policy.name} is alive, so it blocks", rule.origin)
        return (Choice(CERTAIN, None, number, policy.name, None, True, (said, dead)),), ()
    if owning := _owning(case, source, shares):
        return (_owned(policy, owning, tier, number, (said,)),), ()
    return _drawn(policy, shares, tier, number, (said,)), ()


def by_policy(
    case: Case, name: str, source: Address | None, said: tuple[Reason, ...] = ()
) -> tuple[Choice, ...]:
    """The spread of what no rule has decided; nobody, if the policy has no uplink of the family."""
    policy = _policy(case, name)
    shares, tier = _carriers(case, policy)
    if not shares:
        nobody = Reason(f"{name} has no uplink with IPv{case.packet.family}")
        return (Choice(CERTAIN, None, None, name, None, False, (*said, nobody)),)
    if owning := _owning(case, source, shares):
        return (_owned(policy, owning, tier, None, said),)
    return _drawn(policy, shares, tier, None, said)


def spread(case: Case) -> tuple[Choice, ...]:
    """How the kernel spreads what is the router's own: it asks for no source."""
    return by_policy(case, "default", None)


def _policy(case: Case, name: str) -> Policy:
    return next(policy for policy in case.plan.policies if policy.name == name)


def _carriers(case: Case, policy: Policy) -> tuple[tuple[Share, ...], int | None]:
    """The live members of the first tier that has any, and the number of that tier.

    Of a policy that stays: of the first tier that has the family at all, if nobody lives.
    """
    family = case.packet.family
    alive = case.situation.live.get(family, frozenset())
    having = {uplink.name for uplink in case.plan.uplinks if family in uplink.families}
    for names in (alive, having) if policy.when_down == "stay" else (alive,):
        for number, tier in enumerate(policy.tiers, start=1):
            if shares := tuple(share for share in tier if share.uplink in names):
                return shares, number
    return (), None


def _owning(case: Case, source: Address | None, shares: tuple[Share, ...]) -> Share | None:
    """The carrier whose network the source is in, if the lans have it as it is."""
    owners = {up.name for up in case.plan.routed if belongs(case, source, up)}
    return next((share for share in shares if share.uplink in owners), None)


def _owned(
    policy: Policy, share: Share, tier: int | None, rule: int | None, said: tuple[Reason, ...]
) -> Choice:
    (choice,) = _drawn(policy, (share,), tier, rule, said)
    owned = Reason(f"the source is in a network of {share.uplink}")
    return replace(choice, reasons=(*choice.reasons[:-1], owned))


def _drawn(
    policy: Policy,
    shares: tuple[Share, ...],
    tier: int | None,
    rule: int | None,
    said: tuple[Reason, ...],
) -> tuple[Choice, ...]:
    total = sum(share.weight for share in shares)
    how = "where the client went last, else by weight" if policy.sticky else "by weight"
    one = len(shares) == 1
    drawn = Reason(
        f"{policy.name} gives it to "
        + (shares[0].uplink if one else f"tier {tier}, {how}" if tier else how)
    )
    return tuple(
        Choice(
            chance=Fraction(share.weight, total),
            uplink=share.uplink,
            rule=rule,
            policy=policy.name,
            tier=tier,
            block=policy.when_down == "block",
            reasons=(*said, drawn),
        )
        for share in shares
    )
