//! Rows out of libpq: the one loop that runs once a row.

const std = @import("std");

/// libpq's functions (postgresql.org/docs/current/libpq-copy.html), given by address: the library is not linked.
const GetCopyData = *const fn (connection: *anyopaque, row: *?[*]u8, nonblocking: c_int) callconv(.c) c_int;
const FreeMem = *const fn (memory: ?*anyopaque) callconv(.c) void;

pub const Drain = extern struct {
    get: GetCopyData,
    free: FreeMem,
    connection: *anyopaque,
    out: [*]u8,
    out_size: usize,
    lengths: [*]i64,
    most_rows: usize,
    /// So far in `out` and in `lengths`.
    written: usize,
    rows: usize,
    /// A row that is larger than what is left of `out`: taken by `take`, or by the next call.
    pending: ?[*]u8,
    pending_size: usize,
    /// What `get` said last: 0 nothing there yet, -1 the end, -2 an error.
    said: c_int,
};

pub const Status = enum(i32) { waiting = 0, full = 1, ended = 2 };

/// Takes rows until there are none, `out` cannot hold the next, or `most_rows` are there.
pub fn run(drain: *Drain) Status {
    const out = drain.out[0..drain.out_size];
    while (drain.rows < drain.most_rows) {
        if (drain.pending == null) {
            drain.said = drain.get(drain.connection, &drain.pending, 1);
            if (drain.said <= 0) return if (drain.said == 0) .waiting else .ended;
            drain.pending_size = @intCast(drain.said);
        }
        const row = drain.pending.?[0..drain.pending_size];
        if (out.len - drain.written < row.len) return .full;
        @memcpy(out[drain.written..][0..row.len], row);
        drain.free(drain.pending);
        drain.pending = null;
        drain.lengths[drain.rows] = @intCast(row.len);
        drain.written += row.len;
        drain.rows += 1;
    }
    return .full;
}
