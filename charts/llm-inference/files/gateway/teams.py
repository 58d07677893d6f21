# ruff: noqa: INP001 - a script of its own, not part of a package
"""LiteLLM's check of keys where every team has one of its own and there is no database.

LiteLLM imports this beside its configuration (`custom_auth`) and asks `authenticate` for each request. `teams.json`
beside it has the team of each environment variable that holds a key. A team's key may ask models and do nothing else;
the master key may do everything. What is told to LiteLLM of a key is its hash, since labels of metrics are made of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import HTTPException
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth

if TYPE_CHECKING:
    from fastapi import Request

TEAMS: dict[str, str] = json.loads((Path(__file__).parent / "teams.json").read_text(encoding="utf-8"))
"""Names of teams by the variables with their keys."""


def _is(key: str, variable: str) -> bool:
    wanted = os.environ.get(variable, "")
    return bool(wanted) and hmac.compare_digest(key.encode(), wanted.encode())


async def authenticate(request: Request, api_key: str | None) -> UserAPIKeyAuth:
    """Who asks. Raises HTTPException for a key that is nobody's, and for what a team may not ask."""
    key = (api_key or "").removeprefix("Bearer ").strip()
    told = hashlib.sha256(key.encode()).hexdigest()
    if _is(key, "LITELLM_MASTER_KEY"):
        return UserAPIKeyAuth(api_key=told, key_alias="master", user_role=LitellmUserRoles.PROXY_ADMIN)
    for variable, team in TEAMS.items():
        if _is(key, variable):
            if not request.url.path.startswith("/v1/"):
                raise HTTPException(403, f"the key of team {team} opens /v1 only")
            return UserAPIKeyAuth(
                api_key=told, key_alias=team, team_id=team, team_alias=team, user_role=LitellmUserRoles.INTERNAL_USER
            )
    raise HTTPException(401, "no such key")
