//! Rows of COPY BINARY to columns, in the layouts of Arrow, as `export_runner.frames.decoder` makes them with numpy.

const std = @import("std");
const copy = @import("copy.zig");
const decimals = @import("decimals.zig");

/// Where a column goes, of as many values as there are rows.
pub const Column = extern struct {
    /// One byte a value: 1, or 0 for NULL.
    valid: [*]u8,
    /// Values of one width, in native byte order; 0 stands for NULL. Null for those that vary.
    values: ?[*]u8,
    /// Values that vary: where they begin in the data, and how long they are; 0 for NULL.
    begin: ?[*]i64,
    length: ?[*]i64,
    /// The same as views: arrow.apache.org/docs/format/Columnar.html, "Variable-size Binary View Layout".
    views: ?[*][2]u64,
    nulls: usize,
    /// Of a decimal, whose values are 128 bits wide.
    scale: usize,
};

pub const Job = extern struct {
    data: [*]const u8,
    data_size: usize,
    lengths: [*]const i64,
    rows: usize,
    kinds: [*]const u8,
    fields: usize,
    columns: [*]Column,
    /// The kind of a value that is as wide as none of its kind.
    wrong: u8,
};

pub fn run(job: *Job) copy.Status {
    const data = job.data[0..job.data_size];
    var offset: usize = 0;
    for (0..job.rows) |number| {
        const row = copy.row(data, offset, job.lengths[number]) orelse return .beyond;
        take(job, row, offset, number) catch |problem| return copy.status(problem);
        offset += row.len;
    }
    return .done;
}

fn take(job: *Job, row: []const u8, offset: usize, number: usize) copy.Problem!void {
    var fields = try copy.Fields.of(row, job.fields);
    for (job.kinds[0..job.fields], job.columns[0..job.fields]) |code, *column| {
        const kind: copy.Kind = @fromBackingInt(@intCast(code));
        const value = fields.next(kind) catch |problem| {
            job.wrong = code;
            return problem;
        };
        column.valid[number] = @intFromBool(value != null);
        column.nulls += @intFromBool(value == null);
        if (column.values) |values| {
            if (kind == .decimal) {
                const whole = if (value) |bytes| try decimals.value(bytes, column.scale) else 0;
                std.mem.writeInt(i128, values[number * @sizeOf(i128) ..][0..@sizeOf(i128)], whole, .native);
            } else fixed(kind.width().?, values, number, value);
        } else {
            const skipped: usize = @intFromBool(kind == .jsonb and value != null);
            const bytes = if (value) |bytes| bytes[skipped..] else "";
            const begin = offset + fields.at - bytes.len;
            column.begin.?[number] = @intCast(begin);
            column.length.?[number] = @intCast(bytes.len);
            column.views.?[number] = view(bytes, begin);
        }
    }
    try fields.end();
}

fn fixed(width: usize, values: [*]u8, number: usize, value: ?[]const u8) void {
    switch (width) {
        1 => values[number] = if (value) |bytes| bytes[0] else 0,
        2 => swap(u16, values, number, value),
        4 => swap(u32, values, number, value),
        8 => swap(u64, values, number, value),
        else => unreachable,
    }
}

fn swap(comptime T: type, values: [*]u8, number: usize, value: ?[]const u8) void {
    const width = @sizeOf(T);
    const read = if (value) |bytes| std.mem.readInt(T, bytes[0..width], .big) else 0;
    std.mem.writeInt(T, values[number * width ..][0..width], read, .native);
}

const inline_bytes = 12;

pub fn view(bytes: []const u8, begin: usize) [2]u64 {
    var made: [16]u8 = @splat(0);
    std.mem.writeInt(u32, made[0..4], @intCast(bytes.len), .little);
    if (bytes.len <= inline_bytes) {
        @memcpy(made[4..][0..bytes.len], bytes);
    } else {
        made[4..8].* = bytes[0..4].*;
        std.mem.writeInt(u32, made[12..16], @intCast(begin), .little);
    }
    return @bitCast(made);
}
