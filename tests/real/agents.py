"""How each program is set up to run offline against the scripted model; its command lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

KEY = "sk-fake-key-for-tests-only-0000000000"
COST = {"input": 3, "output": 15}


class Setup(NamedTuple):
    """Variables, and files below HOME by name (a value that is no text becomes JSON)."""

    env: dict[str, str]
    files: dict[str, Any]


class Program(NamedTuple):
    package: str
    setup: Callable[..., Setup]
    headless: Callable[[str, str, bool], list[str]]
    """(prompt, native id of a session to go on with or "", as a fork?) to arguments."""


def claude(url: str, cwd: str, *, approvals: bool, subscriber: bool = False) -> Setup:
    env = {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_MODEL": "claude-sonnet-4-5",
        "CLAUDE_CODE_MAX_RETRIES": "2",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_BUG_COMMAND": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",
    }
    if subscriber:  # usage limits are told to subscribers only
        env["CLAUDE_CODE_OAUTH_TOKEN"] = "sk-ant-oat01-fake-for-tests"
    else:
        env["ANTHROPIC_API_KEY"] = KEY
    project = {
        "hasTrustDialogAccepted": True,
        "hasCompletedProjectOnboarding": True,
        "projectOnboardingSeenCount": 4,
        "allowedTools": [] if approvals else ["Bash", "Write", "Edit"],
    }
    state = {
        "hasCompletedOnboarding": True,
        "lastOnboardingVersion": "99.0.0",
        "numStartups": 7,
        "theme": "dark",
        "autoUpdates": False,
        "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []},
        "projects": {cwd: project},
    }
    settings = {"cleanupPeriodDays": 3650}
    return Setup(env, {".claude.json": state, ".claude/settings.json": settings})


CODEX = """model = "gpt-5.2-codex"
model_provider = "fake"
approval_policy = "{approval}"
sandbox_mode = "{sandbox}"
check_for_update_on_startup = false
model_reasoning_summary = "detailed"
hide_gpt5_1_migration_prompt = true

[analytics]
enabled = false

[feedback]
enabled = false

[model_providers.fake]
name = "fake"
base_url = "{url}/v1"
env_key = "FAKE_API_KEY"
wire_api = "responses"
supports_websockets = false
request_max_retries = 1
stream_max_retries = 1
stream_idle_timeout_ms = 600000

[projects."{cwd}"]
trust_level = "trusted"
"""


def codex(url: str, cwd: str, *, approvals: bool) -> Setup:
    approval = "on-request" if approvals else "never"
    sandbox = "read-only" if approvals else "danger-full-access"
    config = CODEX.format(url=url, cwd=cwd, approval=approval, sandbox=sandbox)
    return Setup({"FAKE_API_KEY": KEY}, {".codex/config.toml": config})


def gemini(url: str, cwd: str, *, approvals: bool) -> Setup:
    env = {
        "GEMINI_API_KEY": KEY,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GEMINI_TELEMETRY_ENABLED": "false",
        "GEMINI_CLI_TRUST_WORKSPACE": "true",
    }
    general = ("enableAutoUpdate", "enableAutoUpdateNotification")
    settings = {
        "security": {
            "auth": {"selectedType": "gemini-api-key"},
            "folderTrust": {"enabled": False},
        },
        "general": {**dict.fromkeys(general, False), "sessionRetention": {"enabled": False}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "ide": {"hasSeenNudge": True, "enabled": False},
        "model": {"name": "gemini-2.5-pro"},
        "ui": {"hideTips": True},
    }
    return Setup(env, {".gemini/settings.json": settings})


def opencode(url: str, cwd: str, *, approvals: bool) -> Setup:
    names = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
    model = {
        "limit": {"context": 200000, "output": 32000},
        "reasoning": True,
        "tool_call": True,
        "cost": {**COST, "cache_read": 0.3, "cache_write": 3.75},
    }
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Fake",
        "options": {"baseURL": f"{url}/v1", "apiKey": KEY},
        "models": {m: {"name": m, **model} for m in ("fake-model", "fake-small")},
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": "fake/fake-model",
        "small_model": "fake/fake-small",
        "provider": {"fake": provider},
    }
    if approvals:
        config["permission"] = {"bash": "ask", "edit": "ask"}
    env = {f"OPENCODE_DISABLE_{n}": "1" for n in names}
    return Setup(env, {".config/opencode/opencode.json": config})


def pi(url: str, cwd: str, *, approvals: bool) -> Setup:
    model = {
        "id": "fake-model",
        "name": "Fake",
        "reasoning": True,
        "input": ["text"],
        "cost": {**COST, "cacheRead": 0.3, "cacheWrite": 3.75},
        "contextWindow": 200000,
        "maxTokens": 32000,
    }
    provider = {
        "baseUrl": f"{url}/v1",
        "api": "openai-completions",
        "apiKey": "FAKE_API_KEY",
        "models": [model],
    }
    settings = {
        "defaultProvider": "fake",
        "defaultModel": "fake-model",
        "lastChangelogVersion": "99.0.0",
    }
    env = {
        "FAKE_API_KEY": KEY,
        "PI_OFFLINE": "1",
        "PI_TELEMETRY": "0",
        "PI_SKIP_VERSION_CHECK": "1",
    }
    return Setup(
        env,
        {
            ".pi/agent/models.json": {"providers": {"fake": provider}},
            ".pi/agent/settings.json": settings,
        },
    )


def copilot(url: str, cwd: str, *, approvals: bool) -> Setup:
    env = {
        "COPILOT_OFFLINE": "true",
        "COPILOT_AUTO_UPDATE": "false",
        "COPILOT_PROVIDER_TYPE": "openai",
        "COPILOT_PROVIDER_BASE_URL": f"{url}/v1",
        "COPILOT_PROVIDER_API_KEY": KEY,
        "COPILOT_MODEL": "fake-model",
        "COPILOT_PROVIDER_MAX_PROMPT_TOKENS": "100000",
        "COPILOT_PROVIDER_MAX_OUTPUT_TOKENS": "8000",
    }
    config = {"trusted_folders": [cwd], "banner": "never", "auto_update": False}
    return Setup(env, {".copilot/config.json": config})


def _claude_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = ["--resume", session] if session else []
    split = ["--fork-session"] if fork else []
    return [*goes_on, *split, "--dangerously-skip-permissions", "-p", prompt]


def _codex_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = [("fork" if fork else "resume"), session] if session else []
    return ["exec", "--skip-git-repo-check", *goes_on, prompt]


def _gemini_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = ["--resume", session] if session else []
    return [*goes_on, "--yolo", "--skip-trust", "-p", prompt]


def _opencode_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = ["--session", session, *(["--fork"] if fork else [])] if session else []
    return ["run", *goes_on, prompt]


def _pi_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = ["--fork" if fork else "--session", session] if session else []
    return [*goes_on, "-p", prompt]


def _copilot_run(prompt: str, session: str, fork: bool) -> list[str]:
    goes_on = [f"--resume={session}"] if session else []
    return [*goes_on, "--allow-all-tools", "-p", prompt]


PROGRAMS: Mapping[str, Program] = {
    "claude": Program("@anthropic-ai/claude-code", claude, _claude_run),
    "codex": Program("@openai/codex", codex, _codex_run),
    "gemini": Program("@google/gemini-cli", gemini, _gemini_run),
    "opencode": Program("opencode-ai", opencode, _opencode_run),
    "pi": Program("@mariozechner/pi-coding-agent", pi, _pi_run),
    "copilot": Program("@github/copilot", copilot, _copilot_run),
}


def write(files: Mapping[str, Any], home: Path) -> None:
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        path.write_text(text, encoding="utf-8")
