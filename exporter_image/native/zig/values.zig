//! Values that do not come as text, as text.

const std = @import("std");
const moments = @import("moments.zig");
const floats = @import("floats.zig");
const numbers = @import("numbers.zig");
const output = @import("out.zig");

const Kind = @import("copy.zig").Kind;

pub fn isNumber(kind: Kind) bool {
    return switch (kind) {
        .bool, .int2, .int4, .int8, .oid, .float4, .float8, .numeric => true,
        else => false,
    };
}

/// The value from the beginning of `buffer` on.
pub inline fn write(comptime kind: Kind, bytes: []const u8, comptime style: moments.Style, buffer: *[output.longest]u8) []const u8 {
    return buffer[0..switch (kind) {
        .bool => output.put(buffer, 0, if (bytes[0] != 0) "true" else "false"),
        .int2 => integer(std.mem.readInt(i16, bytes[0..2], .big), buffer),
        .int4 => integer(std.mem.readInt(i32, bytes[0..4], .big), buffer),
        .int8 => integer(std.mem.readInt(i64, bytes[0..8], .big), buffer),
        .oid => integer(std.mem.readInt(u32, bytes[0..4], .big), buffer),
        .float4 => floats.write(f32, @bitCast(std.mem.readInt(u32, bytes[0..4], .big)), buffer),
        .float8 => floats.write(f64, @bitCast(std.mem.readInt(u64, bytes[0..8], .big)), buffer),
        .date => moments.date(std.mem.readInt(i32, bytes[0..4], .big), buffer),
        .timestamp => moments.timestamp(std.mem.readInt(i64, bytes[0..8], .big), style, "", buffer),
        .timestamptz => moments.timestamp(std.mem.readInt(i64, bytes[0..8], .big), style, style.utc, buffer),
        .uuid => uuid(bytes[0..16], buffer),
        .text, .json, .jsonb, .bytea, .numeric, .decimal, .array => unreachable,
    }];
}

fn integer(value: anytype, buffer: *[output.longest]u8) usize {
    const negative = value < 0;
    const size: u64 = if (negative) @as(u64, 0) -% @as(u64, @bitCast(@as(i64, @intCast(value)))) else @intCast(value);
    buffer[0] = '-';
    const begin: usize = @intFromBool(negative);
    return begin + numbers.write(buffer[begin..], size);
}

const hex_digits = "0123456789abcdef";

/// Says how many bytes it took.
pub fn uuid(bytes: *const [16]u8, buffer: *[output.longest]u8) usize {
    var at: usize = 0;
    for (bytes, 0..) |each, number| {
        if (number == 4 or number == 6 or number == 8 or number == 10) {
            buffer[at] = '-';
            at += 1;
        }
        buffer[at] = hex_digits[each >> 4];
        buffer[at + 1] = hex_digits[each & 15];
        at += 2;
    }
    return at;
}

/// Says how many bytes it took.
pub fn hex(bytes: []const u8, room: []u8) output.Full!usize {
    if (room.len < 2 * bytes.len) return error.Full;
    for (bytes, 0..) |each, number| {
        room[2 * number] = hex_digits[each >> 4];
        room[2 * number + 1] = hex_digits[each & 15];
    }
    return 2 * bytes.len;
}
