create table astromesh_budgets (
    agent             text        not null,
    window_start      bigint      not null,
    window_length     bigint      not null,
    spent_tokens      bigint      not null default 0,
    spent_nanodollars bigint      not null default 0,
    expires_at        timestamptz not null,
    primary key (agent, window_start, window_length)
);
create index astromesh_budgets_expiry on astromesh_budgets (expires_at);

-- What is reserved, and for a while what was settled.
create table astromesh_budget_calls (
    id            text        primary key,
    agent         text        not null,
    window_start  bigint      not null,
    window_length bigint      not null,
    tokens        bigint      not null,
    nanodollars   bigint      not null,
    settled       boolean     not null,
    ends_at       timestamptz not null,
    foreign key (agent, window_start, window_length) references astromesh_budgets on delete cascade
);
create index astromesh_budget_calls_window on astromesh_budget_calls (agent, window_start, window_length);
