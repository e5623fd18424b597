//! Arrays as PostgreSQL writes them (arrayfuncs.c, `array_out`), of what `array_send` sent.

const std = @import("std");
const copy = @import("copy.zig");
const moments = @import("moments.zig");
const output = @import("out.zig");
const values = @import("values.zig");

const Kind = copy.Kind;
const Out = output.Out;
const Problem = copy.Problem || output.Full;
const most_dimensions = 6;

/// The text, from the beginning of `room` on.
pub fn text(bytes: []const u8, room: []u8) Problem![]const u8 {
    var out = Out{ .buffer = room, .at = 0 };
    var rest = Rest{ .bytes = bytes };
    const dimensions: usize = std.math.cast(usize, try rest.integer(i32)) orelse return error.Array;
    if (dimensions > most_dimensions) return error.Array;
    _ = try rest.integer(i32); // whether there is a NULL
    const kind = elements(try rest.integer(u32)) orelse return error.Array;

    // How many elements an array of the dimension has, with all that are in it.
    var sizes: [most_dimensions]usize = undefined;
    var bounds: [most_dimensions]i64 = undefined;
    for (sizes[0..dimensions], bounds[0..dimensions]) |*size, *bound| {
        size.* = std.math.cast(usize, try rest.integer(i32)) orelse return error.Array;
        bound.* = try rest.integer(i32);
        if (size.* == 0) return error.Array;
    }
    if (std.mem.indexOfNone(i64, bounds[0..dimensions], &.{1}) != null) {
        for (sizes[0..dimensions], bounds[0..dimensions]) |size, first| {
            try out.byte('[');
            try integer(first, &out);
            try out.byte(':');
            try integer(first + @as(i64, @intCast(size)) - 1, &out);
            try out.byte(']');
        }
        try out.byte('=');
    }
    if (dimensions == 0) try out.add("{}");
    var at = dimensions;
    while (at > 1) : (at -= 1) sizes[at - 2] = std.math.mul(usize, sizes[at - 2], sizes[at - 1]) catch return error.Array;
    const count = if (dimensions == 0) 0 else sizes[0];

    if (dimensions == 1) {
        try list(kind, count, &rest, &out);
    } else for (0..count) |number| {
        if (number > 0) try out.byte(',');
        for (sizes[0..dimensions]) |size| if (number % size == 0) try out.byte('{');
        if (try rest.element()) |value| try element(kind, value, &out) else try out.add("NULL");
        for (sizes[0..dimensions]) |size| if ((number + 1) % size == 0) try out.byte('}');
    }
    if (rest.bytes.len > 0) return error.Array;
    return room[0..out.at];
}

/// One dimension, which is what most arrays have.
fn list(kind: Kind, count: usize, rest: *Rest, out: *Out) Problem!void {
    var before: u8 = '{';
    for (0..count) |_| {
        try out.byte(before);
        before = ',';
        const value = try rest.element() orelse {
            try out.add("NULL");
            continue;
        };
        try element(kind, value, out);
    }
    try out.byte('}');
}

const Rest = struct {
    bytes: []const u8,

    fn take(self: *Rest, count: usize) error{Array}![]const u8 {
        if (self.bytes.len < count) return error.Array;
        defer self.bytes = self.bytes[count..];
        return self.bytes[0..count];
    }

    fn integer(self: *Rest, comptime T: type) error{Array}!T {
        return std.mem.readInt(T, (try self.take(@sizeOf(T)))[0..@sizeOf(T)], .big);
    }

    /// Null for NULL.
    fn element(self: *Rest) error{Array}!?[]const u8 {
        const size = try self.integer(i32);
        return if (size == -1) null else try self.take(std.math.cast(usize, size) orelse return error.Array);
    }
};

/// By the OID of their type: `export_runner.frames.kinds` has those of the arrays.
fn elements(oid: u32) ?Kind {
    return switch (oid) {
        16 => .bool,
        20 => .int8,
        21 => .int2,
        23 => .int4,
        26 => .oid,
        25, 1042, 1043 => .text,
        2950 => .uuid,
        else => null,
    };
}

inline fn element(kind: Kind, value: []const u8, out: *Out) Problem!void {
    if (kind.width()) |wanted| if (value.len != wanted) return error.Array;
    switch (kind) {
        .text => if (isBare(value)) try out.add(value) else try quoted(value, out),
        .bool => try out.byte(if (value[0] != 0) 't' else 'f'),
        inline .int2, .int4, .int8, .oid, .uuid => |each| {
            out.at += values.write(each, value, moments.postgresql, try out.place()).len;
        },
        else => unreachable,
    }
}

fn integer(value: i64, out: *Out) Problem!void {
    var bytes: [8]u8 = undefined;
    std.mem.writeInt(i64, &bytes, value, .big);
    out.at += values.write(.int8, &bytes, moments.postgresql, try out.place()).len;
}

inline fn isBare(value: []const u8) bool {
    const count = value.len;
    if (count >= 8) {
        var at: usize = 0;
        while (count - at > 8) : (at += 8) if (anySpecial(value[at..][0..8].*)) return false;
        // The last ones, some of them once more.
        return !anySpecial(value[count - 8 ..][0..8].*);
    }
    for (value) |each| if (special[each]) return false;
    return count > 0 and !std.ascii.eqlIgnoreCase(value, "NULL");
}

inline fn anySpecial(values8: @Vector(8, u8)) bool {
    var found = (values8 -% @as(@Vector(8, u8), @splat('\t'))) < @as(@Vector(8, u8), @splat(5));
    inline for ("\"\\{}, ") |each| found = found | (values8 == @as(@Vector(8, u8), @splat(each)));
    return @reduce(.Or, found);
}

const special = blk: {
    var table: [256]bool = @splat(false);
    for ("\"\\{}, \t\n\x0b\x0c\r") |each| table[each] = true;
    break :blk table;
};

fn quoted(value: []const u8, out: *Out) Problem!void {
    const room = out.left();
    if (room.len < 2 * value.len + 2) return error.Full;
    room[0] = '"';
    var to: usize = 1;
    for (value) |each| {
        if (each == '"' or each == '\\') {
            room[to] = '\\';
            to += 1;
        }
        room[to] = each;
        to += 1;
    }
    room[to] = '"';
    out.at += to + 1;
}
