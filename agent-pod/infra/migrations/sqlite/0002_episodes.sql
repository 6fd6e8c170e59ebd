create table episodes (
    id      integer primary key autoincrement,
    agent   text not null,
    session text not null,
    body    text not null
) strict;
create index episodes_session on episodes (agent, session, id);
create index episodes_agent on episodes (agent, id);
