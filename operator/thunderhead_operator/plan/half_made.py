"""An attempt of which another operator made the first pods: they and the rest would not understand each other.

An upgrade may meet an attempt that waits for a quota with some of its pods made. They have the image that was the
default then, and know no key if there was none: the attempt would stand until its deadline, and that ends a job.
"""

from __future__ import annotations

from thunderhead_api.messages import Culprit
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.treaty import Cause
from thunderhead_operator.plan.context import Context, Stage
from thunderhead_operator.plan.render import has_key, make_hash
from thunderhead_operator.plan.verdict import Verdict


def half_made(ctx: Context) -> Verdict | None:
    """The end of an attempt whose missing pods would be of another make than those there are. It costs nothing."""
    spec = ctx.job.spec
    if spec is None or ctx.job.stage is not Stage.CREATING or not ctx.missing:
        return None
    make = make_of(ctx, spec)
    odd = next((pod for _, pod in sorted(ctx.current.items()) if pod.make != make), None)
    if odd is None:
        return None
    said = f"{odd.name} was made before the operator's upgrade or change of settings, with another image or key than"
    said += f" the pods that are missing: node ranks {', '.join(map(str, ctx.missing[:16]))}"
    return Verdict(Cause.SUPERSEDED, Culprit(message=said))


def image_of(ctx: Context, spec: TrainingJobSpec) -> str:
    """Of the container ``trainer``, before the template is laid over it."""
    return spec.image or ctx.config.runtime_image


def make_of(ctx: Context, spec: TrainingJobSpec) -> str:
    """Hash of what all pods of an attempt have to have in common and no spec alone decides. It is compared with what
    this operator would write, not with the image of a pod, which whoever admits pods may have rewritten."""
    return make_hash({"image": image_of(ctx, spec), "key": has_key(ctx)})
