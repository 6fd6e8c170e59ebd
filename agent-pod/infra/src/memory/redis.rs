//! Conversations in Redis, shared by replicas. Every operation is one script, so that none is ever half done.

mod budgets;

use std::sync::{Arc, LazyLock};

use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::connection::Connected;
use super::health::{Failed, Health};
use super::lease::{LEASE_TIME, Leases, lease};
use super::locks::SessionLocks;
use super::{OPERATION_WAIT, natural, ttl_millis, turn, whole};
use crate::secret::SecretHandle;

pub use budgets::RedisBudgets;

/// KEYS: session, turns, lock. ARGV: turn, turns kept, time to live in ms (`-1`: for ever), token (empty: none), fresh
/// revision. Gives 0 if the lock was lost.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return 0 end
        if redis.call('HSETNX', KEYS[1], 'revision', ARGV[5]) == 1 then
            redis.call('DEL', KEYS[2])
        end
        redis.call('HINCRBY', KEYS[1], 'next', 1)
        redis.call('RPUSH', KEYS[2], ARGV[1])
        if ARGV[2] == '0' then redis.call('DEL', KEYS[2]) else redis.call('LTRIM', KEYS[2], '-' .. ARGV[2], -1) end
        for key = 1, 2 do
            if ARGV[3] == '-1' then redis.call('PERSIST', KEYS[key])
            elseif ARGV[3] == '0' then redis.call('DEL', KEYS[key])
            else redis.call('PEXPIRE', KEYS[key], ARGV[3]) end
        end
        return 1",
    )
});

/// KEYS: session, turns. ARGV: number that the turns are under (empty: any), turns at most, bytes at most.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local session = redis.call('HMGET', KEYS[1], 'next', 'revision', 'summary')
        if not session[2] then return false end
        local length = redis.call('LLEN', KEYS[2])
        local first = tonumber(session[1] or '0') - length
        local stop = length
        if ARGV[1] ~= '' then stop = math.max(0, math.min(length, tonumber(ARGV[1]) - first)) end
        local start = math.max(0, stop - tonumber(ARGV[2]))
        local room, left, turns = tonumber(ARGV[3]), 0, {}
        local fitting = stop
        for index = stop - 1, start, -1 do
            local turn = redis.call('LINDEX', KEYS[2], index)
            room = room - #turn
            if room >= 0 then
                fitting = index
                table.insert(turns, turn)
            else left = left + #turn end
        end
        return {first + fitting, session[2], session[3], turns, left}",
    )
});

/// KEYS: session, turns. ARGV: revision, next revision, number of the first turn kept, summary.
static FOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local session = redis.call('HMGET', KEYS[1], 'next', 'revision')
        if session[2] ~= ARGV[1] then return 0 end
        local first = tonumber(session[1] or '0') - redis.call('LLEN', KEYS[2])
        local folded = tonumber(ARGV[3]) - first
        if folded > 0 then redis.call('LTRIM', KEYS[2], folded, -1) end
        redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'summary', ARGV[4])
        return 1",
    )
});

/// KEYS: session, turns, lock. Gives how many messages there were, or nothing where there was no session; a turn that cannot
/// be read is gone all the same. Whoever has the lock has lost it: the turn that is under way is not to be kept.
static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        redis.call('DEL', KEYS[3])
        local messages = 0
        for index = 1, redis.call('LLEN', KEYS[2]) do
            local read, turn = pcall(cjson.decode, redis.call('LINDEX', KEYS[2], index - 1))
            if read and type(turn) == 'table' and type(turn.messages) == 'table' then
                messages = messages + #turn.messages
            end
        end
        redis.call('DEL', KEYS[2])
        if redis.call('DEL', KEYS[1]) == 0 then return false end
        return messages",
    )
});

/// KEYS: lock. ARGV: token, time in ms.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end return 0")
});

/// KEYS: lock. ARGV: token, time in ms.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0",
    )
});

/// KEYS: lock. ARGV: token.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// Conversations in Redis.
pub struct RedisStore {
    server: Arc<RedisServer>,
    locks: SessionLocks,
    keepers: TaskTracker,
}

/// A Redis server, whose connection the stores of a pod share.
pub struct RedisServer {
    connected: Connected<ConnectionManager>,
    health: Health,
}

impl RedisStore {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<RedisServer>) -> Self {
        Self { server, locks: SessionLocks::default(), keepers: TaskTracker::new() }
    }
}

impl RedisServer {
    /// The server at the URL that the Secret's key holds. Nothing is connected until it is used.
    #[must_use]
    pub fn new(url: SecretHandle) -> Self {
        Self { connected: Connected::new(url), health: Health::new() }
    }

    fn connected(&self) -> Result<Arc<ConnectionManager>, StoreError> {
        self.connected.get(|url| {
            // Another URL is another server, of which nothing is known.
            self.health.forget();
            connect(url)
        })
    }

    /// Fails while the server is left alone.
    fn check(&self) -> Result<(), StoreError> {
        self.connected()?;
        self.health.check()
    }

    async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let connections = self.connected()?;
        self.health
            .bounded(async {
                // A clone is a handle of the same connection, which finds its way back by itself.
                let mut connection = ConnectionManager::clone(&connections);
                script.invoke_async(&mut connection).await.map_err(|error| failed(&error))
            })
            .await
    }
}

fn connect(url: &str) -> Result<ConnectionManager, StoreError> {
    let client = Client::open(url)
        .map_err(|_holds_the_url| StoreError("the connection is not a redis:// or rediss:// URL".into()))?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(OPERATION_WAIT))
        .set_response_timeout(Some(OPERATION_WAIT))
        // The next operation tries again.
        .set_number_of_retries(1);
    ConnectionManager::new_lazy_with_config(client, config).map_err(|error| failed(&error).into())
}

#[async_trait]
impl ConversationStore for RedisStore {
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError> {
        self.server.check()?;
        let (local, epoch) = self.locks.take(key).await;
        // It may have gone down while another turn of the session ran.
        self.server.check()?;
        let lock = lease((Arc::clone(&self.server) as _, &self.keepers), local, key).await?;
        Ok(lock.within(epoch))
    }

    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError> {
        type Read = Option<(i64, String, Option<String>, Vec<String>, usize)>;
        let mut script = READ.key(name(key, "session"));
        script.key(name(key, "turns"));
        script.arg(window.before.map_or_else(String::new, |before| whole(before).to_string()));
        script.arg(whole(window.turns_max)).arg(whole(window.bytes_max));
        let read = self.server.run::<Read>(&script).await?;
        let Some((first, revision, summary, newest_first, left_out)) = read else { return Ok(None) };
        let turns = newest_first.iter().rev().map(|text| turn::from_text(text)).collect::<Result<_, _>>()?;
        Ok(Some(Conversation { summary, first: natural(first), turns, revision, left_out }))
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        lock: &SessionLock,
    ) -> Result<(), StoreError> {
        let mut script = APPEND.key(name(key, "session"));
        script.key(name(key, "turns")).key(name(key, "lock"));
        script.arg(turn::to_text(&turn)?).arg(whole(settings.turns_max)).arg(ttl_millis(settings.ttl).unwrap_or(-1));
        script.arg(lock.fence().unwrap_or_default()).arg(Uuid::new_v4().to_string());
        if self.server.run(&script).await? {
            return Ok(());
        }
        Err(StoreError("the lock of the session was lost, another turn may have taken it".into()))
    }

    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError> {
        let mut script = FOLD.key(name(key, "session"));
        script.key(name(key, "turns"));
        script.arg(fold.revision).arg(fold.next_revision).arg(whole(fold.before)).arg(fold.summary);
        self.server.run(&script).await
    }

    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError> {
        self.locks.forget(key);
        let mut script = DELETE.key(name(key, "session"));
        script.key(name(key, "turns")).key(name(key, "lock"));
        self.server.run(&script).await
    }
}

#[async_trait]
impl Leases for RedisServer {
    async fn take(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError> {
        self.run(TAKE.key(name(key, "lock")).arg(token).arg(whole(LEASE_TIME.as_millis()))).await
    }

    async fn renew(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError> {
        self.run(RENEW.key(name(key, "lock")).arg(token).arg(whole(LEASE_TIME.as_millis()))).await
    }

    async fn release(&self, key: &SessionKey, token: &str) -> Result<(), StoreError> {
        self.run::<i64>(RELEASE.key(name(key, "lock")).arg(token)).await.map(|_released| ())
    }
}

/// The names of a session's keys. The braces keep them on one node of a cluster; the length keeps agents and sessions
/// apart, whatever they are called.
fn name(key: &SessionKey, part: &str) -> String {
    format!("astromesh:memory:{{{}:{}:{}}}:{part}", key.agent.len(), key.agent, key.session)
}

/// What went wrong, without the URL and without what was said.
fn failed(error: &RedisError) -> Failed {
    let failure = StoreError(format!("Redis failed: {}", error.category()));
    let down = error.is_io_error() || error.is_timeout() || error.is_connection_dropped();
    if down || error.is_connection_refusal() { Failed::Down(failure) } else { Failed::Refused(failure) }
}
