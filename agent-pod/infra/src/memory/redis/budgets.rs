//! What agents have used, in Redis, shared by replicas. Times are the server's.

use std::sync::{Arc, LazyLock};

use agent_pod_core::budget::{Account, Amount, Asked, BudgetStore, Reserved};
use agent_pod_core::memory::StoreError;
use async_trait::async_trait;
use redis::{Script, ScriptInvocation};
use tokio_util::task::TaskTracker;

use super::RedisServer;
use crate::memory::budget::{self, Ledger, SETTLED_KEPT, Taken, Ticket, WINDOW_KEPT};
use crate::memory::whole;

/// KEYS: sums, ends of leases, reserved amounts, what was settled. ARGV: id, end of the window, time that the window is
/// kept after its end, time that what was settled is kept, all in ms.
///
/// Reads the sums and gives up reservations whose leases are over. `%.0f`: Lua would write large numbers inexactly.
const OPEN: &str = r"
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
    local sums = redis.call('HMGET', KEYS[1], 'spent_tokens', 'spent_nanodollars', 'held_tokens', 'held_nanodollars')
    for at = 1, 4 do sums[at] = tonumber(sums[at] or '0') end
    local function whole(number) return string.format('%.0f', math.max(0, math.min(number, 9e15))) end
    local function give_up(id)
        local amount = redis.call('HGET', KEYS[3], id)
        redis.call('HDEL', KEYS[3], id)
        redis.call('ZREM', KEYS[2], id)
        if not amount then return end
        local tokens, nanodollars = string.match(amount, '(%d+) (%d+)')
        sums[3] = sums[3] - tonumber(tokens)
        sums[4] = sums[4] - tonumber(nanodollars)
    end
    local function close()
        redis.call('HSET', KEYS[1], 'spent_tokens', whole(sums[1]), 'spent_nanodollars', whole(sums[2]),
            'held_tokens', whole(sums[3]), 'held_nanodollars', whole(sums[4]))
        local until_ms = whole(math.max(now, tonumber(ARGV[2])) + tonumber(ARGV[3]))
        for key = 1, 4 do redis.call('PEXPIREAT', KEYS[key], until_ms) end
    end
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now), 'LIMIT', 0, 1000)) do give_up(id) end
    redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', whole(now - tonumber(ARGV[4])))
    local settled = redis.call('ZSCORE', KEYS[4], ARGV[1])
";

/// ARGV further: lease in ms, wanted tokens and nanodollars, maximums of both (empty: none), whether it is forced. Gives
/// what is spent of both, whether it is granted and a maximum is used up, and what of both is reserved.
static RESERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        r"{OPEN}
        local amount, used_up = {{}}, 0
        for at = 1, 2 do
            local wanted, most = tonumber(ARGV[5 + at]), tonumber(ARGV[7 + at])
            local left = wanted
            if most then
                left = math.max(0, most - sums[at] - sums[2 + at])
                if left == 0 then used_up = 1 end
            end
            amount[at] = whole(math.min(wanted, left))
        end
        local granted = 0
        if not settled and (used_up == 0 or ARGV[10] == '1') then
            granted = 1
            redis.call('HSET', KEYS[3], ARGV[1], amount[1] .. ' ' .. amount[2])
            redis.call('ZADD', KEYS[2], whole(now + tonumber(ARGV[5])), ARGV[1])
            sums[3] = sums[3] + tonumber(amount[1])
            sums[4] = sums[4] + tonumber(amount[2])
        end
        close()
        return {{whole(sums[1]), whole(sums[2]), granted, used_up, amount[1], amount[2]}}"
    ))
});

/// ARGV further: used tokens and nanodollars. Gives what is spent of both.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        r"{OPEN}
        if not settled then
            give_up(ARGV[1])
            redis.call('ZADD', KEYS[4], whole(now), ARGV[1])
            sums[1] = sums[1] + tonumber(ARGV[5])
            sums[2] = sums[2] + tonumber(ARGV[6])
        end
        close()
        return {{whole(sums[1]), whole(sums[2])}}"
    ))
});

/// What agents have used, in Redis.
pub struct RedisBudgets {
    server: Arc<RedisServer>,
    tasks: TaskTracker,
}

impl RedisBudgets {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<RedisServer>) -> Self {
        Self { server, tasks: TaskTracker::new() }
    }
}

#[async_trait]
impl BudgetStore for RedisBudgets {
    async fn reserve(&self, asked: &Asked<'_>) -> Result<Reserved, StoreError> {
        budget::reserve(Arc::clone(&self.server) as _, &self.tasks, asked).await
    }
}

#[async_trait]
impl Ledger for RedisServer {
    async fn reserve(&self, ticket: &Ticket, asked: &Asked<'_>) -> Result<Taken, StoreError> {
        type Answer = (u64, u64, bool, bool, u64, u64);
        let mut script = RESERVE.prepare_invoke();
        open(&mut script, ticket);
        script.arg(whole(asked.lease.as_millis())).arg(asked.wanted.tokens).arg(asked.wanted.nanodollars);
        for most in [asked.maximums.tokens, asked.maximums.nanodollars] {
            script.arg(most.map_or_else(String::new, |most| most.to_string()));
        }
        script.arg(u8::from(asked.forced));
        let (tokens, nanodollars, granted, exhausted, amount_tokens, amount_nanodollars) =
            self.run::<Answer>(&script).await?;
        let amount = Amount { tokens: amount_tokens, nanodollars: amount_nanodollars };
        Ok(Taken { spent: Amount { tokens, nanodollars }, granted: granted.then_some((amount, exhausted)) })
    }

    async fn settle(&self, ticket: &Ticket, used: Amount) -> Result<Amount, StoreError> {
        let mut script = SETTLE.prepare_invoke();
        open(&mut script, ticket);
        script.arg(used.tokens).arg(used.nanodollars);
        let (tokens, nanodollars) = self.run(&script).await?;
        Ok(Amount { tokens, nanodollars })
    }
}

/// What every script begins with.
fn open(script: &mut ScriptInvocation<'_>, Ticket { id, account }: &Ticket) {
    for part in ["sums", "leases", "reserved", "settled"] {
        script.key(name(account, part));
    }
    script.arg(id).arg(account.window.end_ms());
    script.arg(whole(WINDOW_KEPT.as_millis())).arg(whole(SETTLED_KEPT.as_millis()));
}

/// The names of a window's keys. The braces keep them on one node of a cluster.
fn name(Account { agent, window }: &Account, part: &str) -> String {
    format!("astromesh:budget:{{{}:{agent}:{}:{}}}:{part}", agent.len(), window.start_ms, window.length_ms)
}
