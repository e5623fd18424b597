//! Whole numbers as decimal digits, two at a time.

const std = @import("std");

const pairs = blk: {
    var table: [100][2]u8 = undefined;
    for (&table, 0..) |*pair, number| pair.* = .{ '0' + number / 10, '0' + number % 10 };
    break :blk table;
};

/// 0 to 99 with two digits.
pub inline fn two(value: anytype) [2]u8 {
    return pairs[@intCast(value)];
}

/// How many digits the value has.
pub fn count(value: u64) usize {
    var digits: usize = 1;
    var rest = value;
    while (rest >= 10_000) : (rest /= 10_000) digits += 4;
    return digits + @as(usize, @intFromBool(rest >= 10)) + @intFromBool(rest >= 100) + @intFromBool(rest >= 1000);
}

/// The value from the beginning of `buffer` on, without leading zeros. Says how many digits there are.
pub fn write(buffer: []u8, value: u64) usize {
    const digits = count(value);
    fill(buffer[0..digits], value);
    return digits;
}

/// The value at the end of `buffer`, with zeros before it.
pub fn fill(buffer: []u8, value: u64) void {
    var rest = value;
    var at = buffer.len;
    while (at >= 2) {
        at -= 2;
        buffer[at..][0..2].* = two(rest % 100);
        rest /= 100;
    }
    if (at == 1) buffer[0] = '0' + @as(u8, @intCast(rest % 10));
}
