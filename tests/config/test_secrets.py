"""What is a secret in a config and what is not: commands and URLs as people write them, each with its secrets."""

import base64
from typing import Any

import pytest

from bridge.config.load import load
from bridge.config.secrets import find_in_args, find_in_url
from tests.fakes.bridges import configure

HEX = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
RANDOM = "q7Zx2mN9vB4kL8wR1tYp"
UUID = "5f0c1b9e-7a34-4d1c-9e55-0a1b2c3d4e5f"
SLACK = "xoxb-1234567890-0987654321-aBcDeFgHiJkL"
GITHUB = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
TELEGRAM = "bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BASIC = base64.b64encode(b"robot:pass-phrase").decode()

PLAIN = (
    "npx -y @modelcontextprotocol/server-filesystem /home/me /home/me/Documents",
    "npx -y @modelcontextprotocol/server-everything stdio",
    "npx -y @playwright/mcp@latest --headless --browser chromium --viewport-size 1280,720",
    "npx -y mcp-remote@0.1.29 https://mcp.linear.app/sse --transport sse-only",
    "npx mcp-remote https://api.githubcopilot.com/mcp/ 3334 --allow-http --debug",
    "uvx mcp-server-git --repository /home/me/projects/mcp-responses-bridge",
    "uvx --from git+https://github.com/oraios/serena@3f786534b7c0b1f4a5d6e7f8091a2b3c4d5e6f70 serena start-mcp-server",
    "uvx mcp-server-fetch --ignore-robots-txt --user-agent=Mozilla/5.0",
    "uv run --directory /Users/me/code/weather_server_2024 weather.py",
    "python -m mcp_server_sqlite --db-path ./data/inventory-2024-10-21.db",
    "python3 /opt/servers/x86_64-linux-gnu/server.py --port 8080 --host 127.0.0.1",
    "node /home/me/.npm/_npx/5f0c1b9e7a344d1c/node_modules/.bin/mcp-server-memory",
    "/nix/store/9f8e7d6c5b4a39281706f5e4d3c2b1a0-mcp-server-1.2.3/bin/mcp-server --stdio",
    "docker run -i --rm -e GITHUB_PERSONAL_ACCESS_TOKEN ghcr.io/github/github-mcp-server:v0.20.1",
    f"docker run -i --rm mcp/puppeteer@sha256:{HEX}{HEX}",
    "docker run -i --rm --network host -v /srv/data:/data:ro -p 8080:8080 -u 1000:1000 mcp/postgres",
    "docker run --rm -i --mount type=bind,src=/Users/me/Desktop,dst=/projects/Desktop mcp/filesystem /projects",
    "podman run --interactive --platform linux/amd64 quay.io/kubernetes_mcp/kubernetes-mcp-server:0.0.50",
    "npx -y @supabase/mcp-server-supabase@latest --read-only --project-ref=abcdefghijklmnopqrst",
    "npx -y firebase-tools@latest experimental:mcp --only firestore,storage",
    "npx -y @azure/mcp@1.0.0-beta.20250612 server start --namespace storage --tenant-id " + UUID,
    "npx -y figma-developer-mcp --stdio --max-tokens 4096 --token-limit 200000",
    "npx -y some-server --api-key-env OPENAI_API_KEY --token-file /run/secrets/github_token",
    "npx -y some-server --private-key /home/me/.ssh/id_ed25519 --key-file ./service-account.json",
    "npx -y some-server --credentials ~/.config/gcloud/application_default_credentials.json",
    "npx -y some-server --auth oauth --auth-type bearer --auth-provider github --token-store keychain",
    "npx -y some-server --sort-key createdAt --primary-key userId --public-key-algorithm rsa-sha2-512",
    "npx -y some-server --model gpt-4o-mini-2024-07-18 --embedding text-embedding-3-large",
    "npx -y some-server --model claude-sonnet-4-5-20250929 --fallback anthropic.claude-3-5-sonnet-20241022-v2:0",
    "npx -y some-server --region us-east-1 --role arn:aws:iam::123456789012:role/ReadOnlyAccessForTheBridge",
    "npx -y some-server --channel-id 1234567890123456789 --folder-id 1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs74OgvE2upms",
    'npx -y some-server --config {"timeout":30,"baseUrl":"https://api.example.com/v2","maxResults":100}',
    "java -Xmx512m -jar spring-ai-mcp-server-1.0.0-SNAPSHOT.jar --spring.profiles.active=production",
    "java -Dfile.encoding=UTF-8 -cp build/libs/server2024.jar com.example.mcp.internationalization.ServerMain",
    "dotnet run --project C:\\Users\\me\\source\\repos\\McpServer2024\\McpServer.csproj --no-build",
    "cmd /c npx -y @modelcontextprotocol/server-sequential-thinking",
    "sh -c exec /usr/local/bin/mcp-server --log-level debug 2>>/tmp/mcp.log",
    "go run github.com/mark3labs/mcp-filesystem-server@v0.11.1 /home/me",
    "deno run --allow-read=/home/me --allow-net=api.example.com:443 jsr:@scope/mcp-server@0.4.2",
    "pipx run --spec mcp_server-1.2.3-cp311-cp311-manylinux_2_17_x86_64.whl mcp-server",
    "ssh -p 2222 -o StrictHostKeyChecking=accept-new deploy@build-server-01.internal.example.com mcp-server",
    "kubectl mcp --context arn:aws:eks:eu-central-1:123456789012:cluster/production-cluster-blue --read-only",
    "mcp-proxy --transport streamablehttp https://knowledge-mcp.global.api.aws/v1/mcp",
    "npx -y @elastic/mcp-server-elasticsearch --url http://localhost:9200 --index logs-2025.06.01-000001",
    "mcp-server-time --local-timezone=America/Argentina/Buenos_Aires",
    "npx -y some-server --header Accept:application/json --header X-Request-Id:none --timeout=30000",
)
"""Command lines without a secret, each word one argument."""

SECRET: tuple[tuple[list[str], set[str]], ...] = (
    (["--token", "hunter-two-three"], {"hunter-two-three"}),
    (["--token", "hunter2"], {"hunter2"}),
    (["--token", "/9j+4AAQSkZJRgAB7Zx2mN9vAQ=="], {"/9j+4AAQSkZJRgAB7Zx2mN9vAQ=="}),
    (["--token", "-leading-dash-1"], {"-leading-dash-1"}),
    (["--api-key=canary-key-one"], {"canary-key-one"}),
    (["--apiKey", "canary-key-two"], {"canary-key-two"}),
    (["--access_token=canary three"], {"canary three"}),
    (["--password", "correct horse battery"], {"correct horse battery"}),
    (["-y", "some-server", GITHUB], {GITHUB}),
    (["-y", "some-server", f"sk-proj-{RANDOM}"], {f"sk-proj-{RANDOM}"}),
    (["-y", "some-server", RANDOM], {RANDOM}),
    (["-y", "some-server", HEX], {HEX}),
    (["-y", "some-server", "AKIAIOSFODNN7EXAMPLE"], {"AKIAIOSFODNN7EXAMPLE"}),
    (["-y", "some-server", JWT], {JWT}),
    (["-y", "figma-developer-mcp", f"--figma-api-key=figd_{RANDOM}", "--stdio"], {f"figd_{RANDOM}"}),
    (["-y", "@supabase/mcp-server-supabase", "--access-token", f"sbp_{HEX}"], {f"sbp_{HEX}"}),
    (["run", "-i", "-e", f"SLACK_BOT_TOKEN={SLACK}", "mcp/slack"], {SLACK}),
    (["run", "-i", "-e", "DB_PASS=short-pass", "-e", "DB_HOST=db.example.com", "mcp/db"], {"short-pass"}),
    (["run", "-i", "--env=NOTION_TOKEN=ntn_12345678", "mcp/notion"], {"ntn_12345678"}),
    (
        ["run", "-e", 'OPENAPI_MCP_HEADERS={"Authorization":"Bearer canary-four","Notion-Version":"2022-06-28"}'],
        {"canary-four", "Bearer canary-four"},
    ),
    (["mcp-remote", "https://h.example/mcp", "--header", "Authorization: Bearer canary-five"], {"canary-five"}),
    (["mcp-remote", "https://h.example/mcp", "--header", "Authorization:Bearer canary-five"], {"canary-five"}),
    (["mcp-remote", "https://h.example/mcp", "--header", "X-Api-Key: canary-six"], {"canary-six"}),
    (["--header", f"Authorization: Basic {BASIC}"], {BASIC, "pass-phrase"}),
    (["-u", "robot:pass-phrase", "https://h.example/"], {"pass-phrase"}),
    (["postgresql://admin:s3cr%40t-word@db.example.com:5432/shop"], {"s3cr%40t-word", "s3cr@t-word"}),
    (["mongodb+srv://user:mongo-pass@cluster0.ab1cd.mongodb.net/?retryWrites=true"], {"mongo-pass"}),
    (["redis://:redis-pass@localhost:6379/0"], {"redis-pass"}),
    (["--dsn=root:mysql-pass@tcp(127.0.0.1:3306)/shop"], {"root:mysql-pass@tcp(127.0.0.1:3306)/shop"}),
    ([f"https://{HEX}@o123.ingest.sentry.io/456"], {HEX}),
    ([f"git+https://{GITHUB}@github.com/org/private.git"], {GITHUB}),
    (["mcp-remote", "https://h.example/mcp?api_key=canary-7&format=json"], {"canary-7"}),
    (["mcp-remote", f"https://h.example/sse?profile=me&key={UUID}"], {UUID}),
    (["mcp-remote", f"https://h.example/s/{HEX}/mcp"], {HEX}),
    (["mcp-remote", f"https://mcp.zapier.com/api/mcp/s/{RANDOM}/mcp"], {RANDOM}),
    (["mcp-remote", f"https://h.example/mcp/{UUID}/sse"], {UUID}),
    ([f"https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/{RANDOM}"], {RANDOM}),
    (
        ["https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/getMe"],
        {"bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"},
    ),
    (["-c", "API_TOKEN=canary-eight exec server --password canary-nine --port 80"], {"canary-eight", "canary-nine"}),
    (["run", "@smithery/cli", "--config", '{"exaApiKey":"canary-ten","limit":"5"}'], {"canary-ten"}),
    (["--config", '{"db":{"password":"pa\\"ss,word","host":"db.example.com"}}'], {'pa"ss,word'}),
    (["--conn", "Server=db.example.com;Database=shop;User Id=sa;Password=Adm1n!pass;"], {"Adm1n!pass"}),
    (["--storage", f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={RANDOM}==;"], {f"{RANDOM}=="}),
    (["-Dapi.token=canary-11", "-jar", "server.jar"], {"canary-11"}),
    (["--client-id", UUID, "--client-secret", "q1w2e3r4-t5y6"], {"q1w2e3r4-t5y6"}),
    (["--client-id", f"sk-{RANDOM}"], {f"sk-{RANDOM}"}),
)
"""Arguments, and the secrets in them that have to be found."""


@pytest.mark.parametrize("command", PLAIN)
def test_a_command_without_a_secret_is_shown_as_it_is(command: str) -> None:
    assert {found for found in find_in_args(command.split(" ")) if len(found) >= 5} == set()


@pytest.mark.parametrize(("args", "secrets"), SECRET)
def test_the_secrets_of_a_command_are_found_and_nothing_that_tells_what_it_is(
    args: list[str], secrets: set[str]
) -> None:
    found = {secret for secret in find_in_args(args) if secret}
    assert secrets <= found
    told = ("some-server", "mcp-remote", "run", "mcp", "sse", "https", "h.example", "db.example.com", "admin", "getMe")
    assert found.isdisjoint(told)
    assert found.isdisjoint(arg for arg in args if arg.startswith("--"))


@pytest.mark.rule("S13")
def test_the_judgement_misses_none_of_the_table_and_takes_no_word_for_a_key(record_testsuite_property: Any) -> None:
    wrong = [command for command in PLAIN if any(len(found) >= 5 for found in find_in_args(command.split(" ")))]
    missed = [args for args, secrets in SECRET if not secrets <= set(find_in_args(args))]
    record_testsuite_property("secrets in commands", f"{len(missed)} missed, {len(wrong)} taken for one, in {TOTAL}")
    assert (missed, wrong) == ([], [])
    assert TOTAL >= 60


TOTAL = len(PLAIN) + len(SECRET)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://shop.openai.azure.com/openai/deployments/gpt-4o-mini-2024-07-18-production/",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "https://gateway.ai.cloudflare.com/v1/compatibility/openai",
        "https://api.githubcopilot.com/mcp/x/repos/readonly",
        "https://mcp.example.com/servers/server-filesystem-2024/mcp",
        "http://127.0.0.1:8787/mcp",
    ],
)
def test_an_ordinary_url_is_shown_as_it_is(url: str) -> None:
    assert list(find_in_url(url)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/home/somebody"), ("TOKEN_FILE", "/run/secrets/token")],
)
def test_folders_in_env_are_no_secrets(name: str, value: str) -> None:
    assert configure({"s": {"command": "s", "env": {name: value}}}).secrets() == set()


def test_each_line_of_a_private_key_is_a_secret_by_itself() -> None:
    lines = ["MIIEvQIBADANBgkqhkiG9w0BAQEF", "AASCBKcwggSjAgEAAoIBAQC7"]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    secrets = configure({"s": {"command": "s", "env": {"SSH": key}}}).secrets()
    assert set(lines) <= secrets
    assert "-----BEGIN PRIVATE KEY-----" not in secrets


def test_what_a_variable_fills_in_is_a_secret_if_the_variable_is_called_so(tmp_path: Any) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"servers": {"s": {"url": "https://h.example/${SHOP_KEY}/mcp?x=${REGION}"}}}', encoding="utf-8")
    config = load(file, environ={"SHOP_KEY": "plain-words", "REGION": "a-region"})
    assert "plain-words" in config.secrets()
