"""A reverse proxy for LLM APIs that copies bytes.

The modules, in reading order: first the path of a request, then what stands beside it.

    __main__.py              the command line: serve, check, explain
        process.py           what a process has of the system: streams, open files, memory
        inventory.py         models
        commands.py          keys, usage
            columns.py       tables for people
        top.py               top
            screen.py        its lines
            overview.py      what it tells
            readings.py      from the pages of a running server
            terminal.py      a terminal, taken and given back
        litellm/             import litellm: another proxy's file, read and written anew
            given.py         its values, none of them unread
            tables.py        its names
            models.py  prices.py
                             its models, one by one
            groups.py  accounts.py
                             as providers with credentials, aliases and rules
            settings.py      its other sections
            yamltext.py      YAML for people
    app.py                   which path leads where; what lives as long as the process
        front.py             where a request goes
        paths.py             what a path says
    keys.py                  who is calling
    proxy.py                 one request, from the client to a provider and back: read it whole
        express.py           a short cut for heads that were seen before
        facts.py             what one look at a request tells, and its body on the way through
        body.py              JSON bodies, strictly read, changed only in place
        asking.py            streams that are asked for usage by us, not by their clients
        multipart.py         forms, in which `model` may stand anywhere
        answers.py           what the client gets to see of an answer's head
    call.py                  what is known of one request; filled in on the way
    rules.py                 the rule table: which targets may answer, best first
        matching.py          which rules hold for a request
        auto.py  signs.py    which targets can serve it; what its bytes say of that
        names.py             names of providers and models
    choosing.py              who of them answers one request
        decision.py          what was chosen, for its trace
        words.py             what a body says about that, in OpenRouter's words
        conversation.py      which conversation a request belongs to
        stickiness.py        who has that conversation, so that caches keep warm
        score.py  board.py  verdicts.py
                             how good targets are; what was measured of them, and by which calls
        reasons.py           what is told of a choice
        classifier.py        a function of the operator's: how difficult a request is
        marks.py             marks for prompt caches, where a client has set none
    attempts.py              who is asked next, and what the client hears when nobody is left
        routing.py           what a configuration says: at which credentials, and how
        race.py              attempts side by side
        retries.py           whether to ask once more, and when
        permits.py           what the caller's key may use
        spending.py          what it may use it for: reserved before each attempt
    passage.py               one attempt: the way to a provider and back
        reply.py             its answer: judged, held until it may go, then copied
            traced.py        one that gets a block of ours
        translated.py        the same where the provider speaks another dialect
        stream.py            the frames of such an answer, through the neutral events
        asked.py             the same where routeur asks for usage, and withholds it
        conversions.py       and for embeddings and counts of tokens
        recorded.py          for clients of the Responses API: translated, and kept
        noting.py            and copied from the provider that keeps it
    realtime.py              WebSockets of the Realtime API, relayed frame by frame
        handshake.py         how they begin
        frames.py            what passes on them
        lasting.py           which of them there are
        upstream_socket.py   connections to providers that become WebSockets
        turn_passage.py      one attempt at a turn of the Responses API over such a connection
        turn_sockets.py      those connections, each of which is one client's
    payloads.py              what passes, kept with the trace where that is asked for
        redaction.py         without secrets, however they are spelled
    providers.py             configured providers, their credentials and models
    standing.py              how every credential is doing with every model
        group.py             whose turn it is among a provider's credentials
        bans.py              a ban, and other reasons not to ask one now
        limits.py            requests and tokens of the last minute
        admission.py         limits and probes, over all workers
        outages.py           who is banned, for people and metrics
    headers.py               which headers go on, as one table
    errors.py                what can go wrong, by blame

    server.py                the side that clients see
    endpoint.py              where a credential's requests go, and how their heads begin
        addressing.py        in which format, by which path, with what change of the body
        rawpredict.py        that of Claude on Vertex AI
        credentials.py       how to identify ourselves to a provider
        aws.py  google.py    at those clouds
        refresh.py           tokens that expire
    pool.py                  the connections of one credential
        local.py             those of `echo`, without a network
    upstream.py              one connection: HTTP/1.1 over httptools, framing counted byte by byte
        receiver.py          what it hands an answer to
        heads.py             the heads of answers, and how their bodies are framed
        templates.py         heads that are like those before them
        framing.py           where a body ends
    relay.py                 what is kept of an answer beside its path: the tap

    config.py                router.yaml, checked, as one immutable value
        config_providers.py  its section `providers`
        config_models.py     models, and their prices
        config_clouds.py     the settings of accounts at clouds
        config_rules.py      its sections `aliases` and `rules`
        config_values.py     values that several sections read
        yamlfile.py          YAML as typed values; every mistake with its line and path
        presets.py           well-known providers, from data/presets.json
    explain.py               what `routeur explain` says
    watch.py                 notices that the file has changed

    measure.py  usage.py     what an answer has used; prices and cost
    catalogue.py             what is publicly known of models, from data/catalogue.json
    calibration.py           what answers have taught about them
    traces.py  metrics.py  health.py  log.py  models.py
                             records of calls, figures, the state of credentials, lines, lists
    pages.py                 the pages that need no key
    own.py                   what routeur answers itself, for those that have one
    bookkeeping.py           what a process does with its store
        booking.py           what a call has cost, for the books
    admin.py                 the management API: its paths, and bans
        admin_keys.py  admin_routes.py  admin_usage.py
                             virtual keys; rules; what calls have used
        desk.py              what it works with, and how it reads requests
        routes.py            rules that are made there: kept, checked, merged with the file's
    peers.py                 what the workers of one machine know together
        sharing.py           whose conversations are whose, told to other processes
        abroad.py            and those of several machines
        workers.py  bus.py   their processes, and how they speak with each other

    stateful.py              the Responses API where it outlives a request
        continuation.py      what becomes of a request before it is decided who answers
    responses.py             stored responses: what is kept, and how a conversation goes on
        retrieval.py         what clients ask of them
        recording.py         an answer while it is made
        shelf.py             where they are kept
        eventlog.py          their streams, to be taken up again
        background.py  jobs.py
                             those that nobody waits for; how they are run
        compaction.py  summaries.py
                             a conversation made short; how the model is asked for that
    websocket.py             the Responses API over a WebSocket
        lanes.py             which turn begins when, and what is remembered
        turns.py             how a turn is answered
        inside.py            requests that routeur makes of itself

    store/                   where keys, limits, usage and traces survive
        base.py              what a store must be able to do
        books.py             sees to it that every finished call is booked, once
            spool.py  checkpoints.py
                             the file that a finished call is in before anything else
        ledger.py            what is reserved and what is spent: decided in memory
            accounts.py      days, weeks and months
            windows.py       the last minute
        memory.py            a store as long as the process
        sqlite.py            one in a file
            writer.py        its one writing thread
            works.py  queries.py  reports.py
                             what is written, what is read, sums of calls
            tables.py  schema.py
                             rows; the tables, and their migrations
        redis.py             one in a Redis, for many machines
            line.py          its connections, in which nothing overtakes anything
            scripts.py       what Redis does at once: all that is decided there (lua/*.lua)
            packing.py       values as these scripts have them

    dialects/                the wire formats; knows nothing of the rest
        base.py              what a dialect must be able to do
        openai_chat/  openai_responses/  anthropic/  gemini/  bedrock/
                             each API: its paths, and what one look at a body or an answer tells;
                             in `requests` and `answers` how it is translated, stream by `reader`
                             and `writer`; the other parts are named after what they read and write
        translate.py         which dialects can be translated, by which functions
        neutral/             a request and an answer in nobody's format
            events.py  collect.py
                             a streamed answer in nobody's format; from there to the whole and back
            aim.py           what a translation is for, and what it loses
            turns.py  media.py  effort.py  ids.py
                             what several of them need: conversations, files, thinking, ids
        claude.py            what Anthropic's models take, wherever they run
        embeddings.py        embeddings, translated between OpenAI and Gemini
        realtime.py          what events of the Realtime API say of usage
        sse.py  array.py  eventstream.py
                             bytes to frames: server-sent events, a JSON array, Amazon's
        opening.py           whether an answer with a good status has failed all the same
        refusals.py          what a provider's error says about another attempt
        usage_tail.py        usage of an answer of which only both ends were kept
        inflate.py           content codings, within bounds
        clouds.py            hosts and paths at the clouds
        echo.py  vectors.py  the built-in answerer, in all of them
        loose.py  expect.py  exact.py
                             reading JSON: of providers, of clients, of any kind to the last digit

Imports go one way, from the outside in; tests/test_layers.py has the order.
"""

__version__ = "0.1.0"
