//! A column of numeric, of arrays or of UUIDs, each value as text.

const std = @import("std");
const arrays = @import("arrays.zig");
const columns = @import("columns.zig");
const copy = @import("copy.zig");
const decimals = @import("decimals.zig");
const output = @import("out.zig");
const values = @import("values.zig");

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
    /// The same as views of `out`, if they are asked for, which is the buffer of that number.
    views: ?[*]columns.View,
    buffer: u32,
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
            if (job.views) |views| views[number] = columns.none;
            continue;
        };
        const value = copy.slice(data, job.begin[number], job.length[number]) orelse return .beyond;
        const text = write(@fromBackingInt(@intCast(job.kind)), value, out[job.written..]) catch |problem| return switch (problem) {
            error.Full => .full,
            else => |other| copy.status(other),
        };
        if (job.views) |views| views[number] = columns.view(out, job.written, text.len, job.buffer);
        job.begin[number] = @intCast(job.written);
        job.length[number] = @intCast(text.len);
        job.written += text.len;
    }
    return .done;
}

fn write(kind: copy.Kind, value: []const u8, room: []u8) (copy.Problem || output.Full)![]const u8 {
    if (kind == .array) return arrays.text(value, room);
    if (room.len < output.longest) return error.Full;
    const place = room[0..output.longest];
    if (kind == .uuid) {
        try copy.check(.uuid, value);
        return room[0..values.uuid(value[0..16], place)];
    }
    if (kind != .decimal) unreachable;
    const text = try decimals.text(value, place);
    // Words are no text of the buffer.
    if (text.ptr != room.ptr) @memcpy(room[0..text.len], text);
    return room[0..text.len];
}
