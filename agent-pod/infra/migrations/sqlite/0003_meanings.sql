create table meanings (
    id        integer primary key autoincrement,
    agent     text not null,
    session   text not null,
    space     text not null,
    content   text not null,
    timestamp text not null,
    vector    blob not null
) strict;
create index meanings_session on meanings (agent, session, id);
create index meanings_agent on meanings (agent, id);
