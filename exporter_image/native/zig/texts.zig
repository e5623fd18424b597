//! A column of numeric or of arrays, each value as text.

const std = @import("std");
const arrays = @import("arrays.zig");
const columns = @import("columns.zig");
const copy = @import("copy.zig");
const decimals = @import("decimals.zig");
const output = @import("out.zig");

/// What is asked, and how far it has come: `row` and `written` go on with each call.
pub const Job = extern struct {
    data: [*]const u8,
    data_size: usize,
    rows: usize,
    /// One byte a value: 1, or 0 for NULL. Null where there is no NULL.
    valid: ?[*]const u8,
    /// Where the values are in the data; and where their texts are in `out`.
    begin: [*]i64,
    length: [*]i64,
    views: [*][2]u64,
    out: [*]u8,
    out_size: usize,
    row: usize,
    written: usize,
    kind: u8,
};

pub fn run(job: *Job) copy.Status {
    const data = job.data[0..job.data_size];
    const out = job.out[0..job.out_size];
    while (job.row < job.rows) : (job.row += 1) {
        const number = job.row;
        if (job.valid) |valid| if (valid[number] == 0) {
            job.begin[number] = 0;
            job.length[number] = 0;
            job.views[number] = columns.view("", 0);
            continue;
        };
        const value = copy.slice(data, job.begin[number], job.length[number]) orelse return .beyond;
        const text = write(@fromBackingInt(@intCast(job.kind)), value, out[job.written..]) catch |problem| return switch (problem) {
            error.Full => .full,
            else => |other| copy.status(other),
        };
        job.views[number] = columns.view(text, job.written);
        job.begin[number] = @intCast(job.written);
        job.length[number] = @intCast(text.len);
        job.written += text.len;
    }
    return .done;
}

fn write(kind: copy.Kind, value: []const u8, room: []u8) (copy.Problem || output.Full)![]const u8 {
    if (kind == .array) return arrays.text(value, room);
    if (kind != .decimal) unreachable;
    if (room.len < output.longest) return error.Full;
    const text = try decimals.text(value, room[0..output.longest]);
    // Words are no text of the buffer.
    if (text.ptr != room.ptr) @memcpy(room[0..text.len], text);
    return room[0..text.len];
}
