# Tasks. `just` comes with the dev extra (rust-just); `just check` is what the gate runs.
set shell := ["bash", "-euo", "pipefail", "-c"]

bin := ".venv/bin"

# everything the gate checks: lint, types, layers, tests
check: lint types layers spec test

# format and sort what can be formatted and sorted
fix:
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

lint:
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .

types:
    {{bin}}/mypy

layers:
    {{bin}}/lint-imports

# behaviours (docs/behaviours.md) that no test proves
spec *args:
    {{bin}}/python tools/spec.py {{args}}

test *args:
    {{bin}}/python -m pytest -n auto --dist worksteal {{args}}

# damaged records for the readers, settings, queries, packs: `just fuzz claude --runs 10_000_000 --seed 7`; all without a name
fuzz *args:
    PYTHONPATH=tests {{bin}}/python -m fuzz {{args}}

# programs of everything that happens to transcripts, looked at now and then: `just tail-long 100_000`
tail-long programs="20000":
    DECKLOG_PROGRAMS={{programs}} {{bin}}/python -m pytest -q tests/laws/test_tailer.py --timeout 0 -k for_ever

# write golden files anew; then read the difference
accept:
    {{bin}}/python -m pytest --accept tests/test_agents.py

# the slow tests too: memory limits at full size
test-long:
    DECKLOG_FULL_SIZE=1 {{bin}}/python -m pytest -m "slow or not slow"

# deaths, failures and power losses of our own files, many times over; syncs killed while transcripts rotate
crash-long:
    DECKLOG_LONG=1 DECKLOG_FULL_SIZE=1 DECKLOG_KILLS=150 {{bin}}/python -m pytest -o timeout=36000 tests/crash

# 300 kills of syncs on a HOME that grows and rotates: the store is a rebuild's, the archive whole
kills each="150":
    DECKLOG_KILLS={{each}} {{bin}}/python -m pytest -q -o timeout=36000 tests/crash/test_rotation.py

# how soon an appended line is told, beside agentsview, and what watching costs; `--write docs/performance.md`
bench-live *args:
    {{bin}}/python benchmarks/live.py {{args}}

# how long `ps` takes, how soon `ps -w` tells, what watching costs; `--write docs/performance.md`
bench-fleet *args:
    {{bin}}/python benchmarks/fleet.py {{args}}

# 2,000 random things that happen to a fleet on real tmux servers: `just chaos 7` for that seed
chaos seed="0" actions="2000":
    DECKLOG_SEED={{seed}} DECKLOG_ACTIONS={{actions}} {{bin}}/python -m pytest -q -o timeout=36000 tests/test_chaos.py

# against the rivals, side by side; writes docs/performance.md
bench *args:
    {{bin}}/python benchmarks/run.py {{args}}

# refresh the bundled price list from the genai-prices package
prices:
    {{bin}}/pip install -q --upgrade genai-prices
    {{bin}}/python tools/make_prices.py

# the real agent programs, offline against a scripted model; DECKLOG_REAL_AGENTS says where they are
real *args:
    {{bin}}/python tests/real/run.py {{args}}

# programs of appends, forks, compactions, rotations and crashes by two processes: `just chat-long 200_000`
chat-long programs="20000":
    DECKLOG_PROGRAMS={{programs}} {{bin}}/python -m pytest tests/laws/test_conversation_model.py
