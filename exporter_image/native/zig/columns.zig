//! Rows of COPY BINARY to columns, in the layouts of Arrow, as `export_runner.frames.decoder` makes them with numpy.

const std = @import("std");
const copy = @import("copy.zig");
const decimals = @import("decimals.zig");

const Kind = copy.Kind;

/// Where a column goes, of as many values as there are rows.
pub const Column = extern struct {
    /// One byte a value: 1, or 0 for NULL.
    valid: [*]u8,
    /// Values of one width, in native byte order; 0 stands for NULL. Null for those that vary.
    values: ?[*]u8,
    /// Values that are read as they came, as views of the data.
    views: ?[*]View,
    /// Values that are to be written as text: where they begin in the data, and how long they are; 0 for NULL.
    begin: ?[*]i64,
    length: ?[*]i64,
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
    /// Which of the columns' values the first row's are, and the number of the data among the buffers of the views.
    first: usize,
    buffer: u32,
    /// Memory for the values' places, of one row at least.
    places: [*]Place,
    places_size: usize,
    /// The kind of a value that is as wide as none of its kind.
    wrong: u8,
};

/// Where a value is in the data; of a negative length for NULL.
pub const Place = extern struct { begin: u32, length: i32 };

/// Finds the values of some rows, then takes them column by column: so much stays in the processor's nearest cache.
pub fn run(job: *Job) copy.Status {
    const data = job.data[0..job.data_size];
    // Views and places have 32 bits.
    if (data.len > std.math.maxInt(i32)) return .beyond;
    const most = job.places_size / @max(job.fields, 1);
    var offset: usize = 0;
    var done: usize = 0;
    while (done < job.rows) {
        const lengths = job.lengths[done..@min(done + most, job.rows)];
        for (lengths, 0..) |length, number| {
            const row = copy.row(data, offset, length) orelse return .beyond;
            find(row, offset, job.places[number * job.fields ..][0..job.fields]) catch |problem| return copy.status(problem);
            offset += row.len;
        }
        for (job.kinds[0..job.fields], job.columns[0..job.fields], 0..) |code, *column, number| {
            const places = Places{ .all = job.places[number .. lengths.len * job.fields], .step = job.fields };
            const kind: Kind = @fromBackingInt(@intCast(code));
            const taken = switch (kind) {
                inline else => |known| take(known, data, places, column, job.first + done, job.buffer),
            };
            taken catch |problem| {
                job.wrong = code;
                return copy.status(problem);
            };
        }
        done += lengths.len;
    }
    return .done;
}

fn find(row: []const u8, offset: usize, places: []Place) copy.Problem!void {
    var fields = try copy.Fields.of(row, places.len);
    for (places) |*place| {
        place.* = if (try fields.any()) |value|
            .{ .begin = @intCast(offset + fields.at - value.len), .length = @intCast(value.len) }
        else
            .{ .begin = 0, .length = -1 };
    }
    try fields.end();
}

/// Those of one column.
const Places = struct {
    all: []const Place,
    step: usize,
};

fn take(comptime kind: Kind, data: []const u8, places: Places, column: *Column, first: usize, buffer: u32) copy.Problem!void {
    var number = first;
    var at: usize = 0;
    while (at < places.all.len) : (at += places.step) {
        const place = places.all[at];
        const value: ?[]const u8 = if (place.length < 0) null else data[place.begin..][0..@intCast(place.length)];
        if (value) |bytes| try copy.check(kind, bytes);
        column.valid[number] = @intFromBool(value != null);
        column.nulls += @intFromBool(value == null);
        switch (kind) {
            .decimal => put(i128, column.values.?, number, if (value) |bytes| try decimals.value(bytes, column.scale) else 0),
            .text, .json, .jsonb, .bytea, .numeric => {
                const skipped = @intFromBool(kind == .jsonb); // its version
                column.views.?[number] = if (value) |bytes| view(data, place.begin + skipped, bytes.len - skipped, buffer) else none;
            },
            .uuid, .array => {
                column.begin.?[number] = place.begin;
                column.length.?[number] = @max(place.length, 0);
            },
            else => {
                const T = @Int(.unsigned, 8 * kind.width().?);
                put(T, column.values.?, number, if (value) |bytes| std.mem.readInt(T, bytes[0..@sizeOf(T)], .big) else 0);
            },
        }
        number += 1;
    }
}

inline fn put(comptime T: type, values: [*]u8, number: usize, value: T) void {
    std.mem.writeInt(T, values[number * @sizeOf(T) ..][0..@sizeOf(T)], value, .native);
}

/// arrow.apache.org/docs/format/Columnar.html, "Variable-size Binary View Layout".
pub const View = [2]u64;
/// Of NULL.
pub const none: View = .{ 0, 0 };
const inline_bytes = 12;
const masks = blk: {
    var made: [inline_bytes + 1]u128 = undefined;
    for (&made, 0..) |*mask, length| mask.* = (1 << (8 * length)) - 1;
    break :blk made;
};

/// Of `length` bytes of the data, which is a buffer of that number.
pub inline fn view(data: []const u8, begin: usize, length: usize, buffer: u32) View {
    const size: u32 = @intCast(length);
    if (length > inline_bytes) {
        const head = std.mem.readInt(u32, data[begin..][0..4], .little);
        return .{ size | @as(u64, head) << 32, buffer | @as(u64, @as(u31, @intCast(begin))) << 32 };
    }
    // As many bytes as there are of sixteen, in one piece where possible.
    var bytes: [16]u8 = @splat(0);
    if (data.len - begin >= bytes.len) {
        bytes = data[begin..][0..bytes.len].*;
    } else @memcpy(bytes[0..length], data[begin..][0..length]);
    const made = (std.mem.readInt(u128, &bytes, .little) & masks[length]) << 32 | size;
    return .{ @truncate(made), @truncate(made >> 64) };
}
