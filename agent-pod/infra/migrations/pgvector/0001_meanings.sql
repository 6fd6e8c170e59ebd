create extension if not exists vector;

create table astromesh_meanings (
    id        bigint generated always as identity primary key,
    agent     text   not null,
    session   text   not null,
    space     text   not null,
    content   text   not null,
    timestamp text   not null,
    vector    vector not null
);
create index astromesh_meanings_session on astromesh_meanings (agent, session, id);
create index astromesh_meanings_agent on astromesh_meanings (agent, id);
