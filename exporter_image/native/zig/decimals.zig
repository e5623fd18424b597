//! numeric of as many digits as a decimal of 128 bits has, as `numeric_send` (numeric.c) sends it.

const std = @import("std");
const copy = @import("copy.zig");
const numbers = @import("numbers.zig");
const output = @import("out.zig");

const Problem = copy.Problem;
const header = 8;
/// A digit of numeric stands for so many decimal ones.
const per_digit = 4;
const base = 10_000;
const powers = [_]u16{ 1, 10, 100, 1000, base };

const Sent = struct {
    digits: []const u8,
    /// Of the first digit: so many follow before the point.
    weight: i32,
    scale: usize,
    sign: enum(u16) { positive = 0, negative = 0x4000, nan = 0xC000, infinity = 0xD000, minus_infinity = 0xF000, _ },

    fn of(bytes: []const u8) Problem!Sent {
        if (bytes.len < header) return error.Decimal;
        const sent = Sent{
            .digits = bytes[header..],
            .weight = std.mem.readInt(i16, bytes[2..4], .big),
            .sign = @fromBackingInt(@intCast(std.mem.readInt(u16, bytes[4..6], .big))),
            .scale = std.mem.readInt(u16, bytes[6..8], .big),
        };
        const count: usize = std.mem.readInt(u16, bytes[0..2], .big);
        return if (sent.digits.len == 2 * count) sent else error.Decimal;
    }

    /// Those that are not sent are zero.
    inline fn digit(self: *const Sent, number: i32) Problem!u16 {
        if (number < 0 or 2 * number >= self.digits.len) return 0;
        const value_ = std.mem.readInt(u16, self.digits[2 * @as(usize, @intCast(number)) ..][0..2], .big);
        return if (value_ < base) value_ else error.Decimal;
    }
};

/// As PostgreSQL writes it (`get_str_from_var`), from the beginning of `buffer` on.
pub fn text(bytes: []const u8, buffer: *[output.longest]u8) Problem![]const u8 {
    const sent = try Sent.of(bytes);
    switch (sent.sign) {
        .positive, .negative => {},
        .nan => return "NaN",
        .infinity => return "Infinity",
        .minus_infinity => return "-Infinity",
        _ => return error.Decimal,
    }
    // Before the point, behind it, and the sign, the point and what of the last digit is cut off.
    const before: usize = if (sent.weight < 0) 1 else per_digit * (@as(usize, @intCast(sent.weight)) + 1);
    if (before + sent.scale + 2 + per_digit > buffer.len) return error.Decimal;

    buffer[0] = '-';
    var at: usize = @intFromBool(sent.sign == .negative);
    at += numbers.write(buffer[at..], if (sent.weight < 0) 0 else try sent.digit(0));
    var number: i32 = 1;
    while (number <= sent.weight) : (number += 1) at = try four(&sent, number, buffer, at);
    if (sent.scale == 0) return buffer[0..at];
    buffer[at] = '.';
    at += 1;
    const end = at + sent.scale;
    number = sent.weight + 1;
    while (at < end) : (number += 1) at = try four(&sent, number, buffer, at);
    return buffer[0..end];
}

inline fn four(sent: *const Sent, number: i32, buffer: *[output.longest]u8, at: usize) Problem!usize {
    const digit = try sent.digit(number);
    buffer[at..][0..2].* = numbers.two(digit / 100);
    buffer[at + 2 ..][0..2].* = numbers.two(digit % 100);
    return at + per_digit;
}

/// What stands for NaN: no decimal of 38 digits.
pub const nan = std.math.minInt(i128);

/// The number, times ten to the power of `scale`.
pub fn value(bytes: []const u8, scale: usize) Problem!i128 {
    const sent = try Sent.of(bytes);
    switch (sent.sign) {
        .positive, .negative => {},
        .nan => return nan,
        else => return error.Decimal,
    }
    const whole: i128 = if (sent.weight < 4 and scale < per_digit)
        try scaled(u64, &sent, scale)
    else
        std.math.cast(i128, try scaled(u128, &sent, scale)) orelse return error.Decimal;
    return if (sent.sign == .negative) -whole else whole;
}

fn scaled(comptime T: type, sent: *const Sent, scale: usize) Problem!T {
    var made: T = 0;
    var number: i32 = 0;
    while (number <= sent.weight) : (number += 1) made = try append(T, made, try sent.digit(number), base);
    number = sent.weight + 1;
    var left = scale;
    while (left >= per_digit) : (left -= per_digit) {
        made = try append(T, made, try sent.digit(number), base);
        number += 1;
    }
    const cut = powers[per_digit - left];
    const last = if (left == 0) 0 else try sent.digit(number);
    if (last % cut != 0 or 2 * (@as(i64, number) + @intFromBool(left > 0)) < sent.digits.len) return error.Decimal;
    return append(T, made, last / cut, powers[left]);
}

inline fn append(comptime T: type, made: T, digits: u16, power: u16) Problem!T {
    const moved = std.math.mul(T, made, power) catch return error.Decimal;
    return std.math.add(T, moved, digits) catch error.Decimal;
}
