create table astromesh_episodes (
    id      bigint generated always as identity primary key,
    agent   text not null,
    session text not null,
    body    text not null
);
create index astromesh_episodes_session on astromesh_episodes (agent, session, id);
create index astromesh_episodes_agent on astromesh_episodes (agent, id);
