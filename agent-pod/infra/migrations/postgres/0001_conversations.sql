create table astromesh_sessions (
    agent      text        not null,
    session    text        not null,
    next_turn  bigint      not null,
    revision   text        not null,
    summary    text,
    expires_at timestamptz,
    primary key (agent, session)
);
create index astromesh_sessions_expiry on astromesh_sessions (expires_at);

create table astromesh_turns (
    agent    text    not null,
    session  text    not null,
    number   bigint  not null,
    messages integer not null,
    body     text    not null,
    primary key (agent, session, number),
    foreign key (agent, session) references astromesh_sessions on delete cascade
);

create table astromesh_locks (
    agent      text        not null,
    session    text        not null,
    token      text        not null,
    expires_at timestamptz not null,
    primary key (agent, session)
);
