"""4. Stage 4 at a size that two cores do not reach: groups of 8, 2,048 tasks of every level; the agent before and after.

`recipes/reinforcement/demonstration.yaml` is the small one, without tasks of several turns and without what it began with to
hold it.
"""

from card import Session, agent, bfcl, session, settings

FULL = ("steps=64", "batch_size=32", "group_size=8", "learning_rate=5e-5", "concurrency=256")
TINY = ("steps=1", "batch_size=2", "group_size=2", "task_steps=1", "argument_tokens=8", "levels={one_call: 1}")


def evaluate(run: Session, when: str, checkpoint: str) -> None:
    full = ("--limit", "150", "--limit", "multi_turn=20", "--concurrency", "64")
    place = ("--split", "dev", "-o", f"results/agent-{when}.json")
    few = ("--limit", "1", "--kind", "single_turn")
    run.command(f"agent {when}", "evaluate", "agent", checkpoint, bfcl(run), *place, *run.choose(full, few))


if __name__ == "__main__":
    with session("reinforcement", __doc__) as run:
        begun, budget = agent(run), settings(*run.choose(FULL, TINY))
        evaluate(run, "before", begun)
        run.command("reinforce", "train", "reinforce", begun, bfcl(run), "-o", "runs/reinforced", *budget)
        evaluate(run, "after", "runs/reinforced")
