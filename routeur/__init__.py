"""A reverse proxy for LLM APIs that copies bytes.

The modules, in reading order: first the path of a request, then what stands beside it.

    __main__.py              the command line: serve, check, explain
    app.py                   which path leads where; what lives as long as the process
        paths.py             what a path says
    keys.py                  who is calling
    proxy.py                 one request, from the client to a provider and back: read it whole
        facts.py             what one look at a request tells, and its body on the way through
        body.py              JSON bodies, strictly read, changed only in place
        multipart.py         forms, in which `model` may stand anywhere
        answers.py           what the client gets to see of an answer's head
    call.py                  what is known of one request; filled in on the way
    rules.py                 the rule table: which targets may answer, best first
        matching.py          which rules hold for a request
        auto.py              which targets can serve it, and in which order
    providers.py             configured providers, their credentials and models
    headers.py               which headers go on, as one table
    errors.py                what can go wrong, by blame

    server.py                the side that clients see
    endpoint.py              where a credential's requests go, and how their heads begin
        credentials.py       how to identify ourselves to a provider
    pool.py                  the connections of one credential
        local.py             those of `echo`, without a network
    upstream.py              one connection: HTTP/1.1 over httptools, framing counted byte by byte
        heads.py             the heads of answers, and how their bodies are framed
    relay.py                 where an answer goes: spliced to the client, or as chunks; and the tap

    config.py                router.yaml, checked, as one immutable value
        config_providers.py  its section `providers`
        config_rules.py      its sections `aliases` and `rules`
        yamlfile.py          YAML as typed values; every mistake with its line and path
        presets.py           well-known providers, from data/presets.json
    explain.py               what `routeur explain` says
    watch.py                 notices that the file has changed

    measure.py  usage.py     what an answer has used; prices and cost
    traces.py  metrics.py  health.py  log.py  models.py
                             records of calls, figures, the state of credentials, lines, lists
    workers.py  bus.py       several processes, and how they ask each other

    dialects/                the wire formats; knows nothing of the rest
        base.py              what a dialect must be able to do
        openai_chat.py  openai_responses.py  anthropic.py  gemini.py
        echo.py  vectors.py  the built-in answerer, in all of them
        sse.py               bytes to frames
        usage_tail.py        usage of an answer of which only both ends were kept
        loose.py             reading JSON that others wrote

Imports go one way, from the outside in; tests/test_layers.py has the order.
"""

__version__ = "0.1.0"
