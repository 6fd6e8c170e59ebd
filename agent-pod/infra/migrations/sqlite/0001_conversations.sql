create table sessions (
    agent      text    not null,
    session    text    not null,
    next_turn  integer not null,
    revision   text    not null,
    summary    text,
    expires_at integer,
    primary key (agent, session)
) strict;
create index sessions_expiry on sessions (expires_at);

create table turns (
    agent    text    not null,
    session  text    not null,
    number   integer not null,
    messages integer not null,
    body     text    not null,
    primary key (agent, session, number),
    foreign key (agent, session) references sessions on delete cascade
) strict;
