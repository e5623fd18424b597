//! Dates and timestamps of PostgreSQL (days and microseconds since 2000-01-01) as text, with DateStyle ISO.

const std = @import("std");
const numbers = @import("numbers.zig");
const output = @import("out.zig");

const put = output.put;

pub const Style = struct { separator: u8, utc: []const u8 };
pub const postgresql = Style{ .separator = ' ', .utc = "+00" };
pub const rfc3339 = Style{ .separator = 'T', .utc = "Z" };

const day_us: i64 = 86_400_000_000;

/// Written from the beginning of `buffer` on; says how many bytes.
pub fn date(days: i32, buffer: *[output.longest]u8) usize {
    if (days == std.math.minInt(i32)) return put(buffer, 0, "-infinity");
    if (days == std.math.maxInt(i32)) return put(buffer, 0, "infinity");
    const day = civil(days);
    const at = begin(day, buffer);
    return if (day.year <= 0) put(buffer, at, " BC") else at;
}

pub fn timestamp(micros: i64, comptime style: Style, comptime zone: []const u8, buffer: *[output.longest]u8) usize {
    if (micros == std.math.minInt(i64)) return put(buffer, 0, "-infinity");
    if (micros == std.math.maxInt(i64)) return put(buffer, 0, "infinity");
    const day = civil(@intCast(@divFloor(micros, day_us)));
    const at = begin(day, buffer);
    const of_day: u64 = @intCast(@mod(micros, day_us));
    const seconds: u32 = @intCast(of_day / 1_000_000);
    const fraction: u32 = @intCast(of_day % 1_000_000);
    const clock = buffer[at..][0..16];
    clock[0] = style.separator;
    clock[1..3].* = numbers.two(seconds / 3600);
    clock[3] = ':';
    clock[4..6].* = numbers.two(seconds / 60 % 60);
    clock[6] = ':';
    clock[7..9].* = numbers.two(seconds % 60);
    clock[9] = '.';
    clock[10..12].* = numbers.two(fraction / 10_000);
    clock[12..14].* = numbers.two(fraction / 100 % 100);
    clock[14..16].* = numbers.two(fraction % 100);
    const end = put(buffer, at + 16, zone);
    return if (day.year <= 0) put(buffer, end, " BC") else end;
}

const Day = struct { year: i32, month: u32, day: u32 };

/// Proleptic Gregorian calendar; year 0 is 1 BC. howardhinnant.github.io/date_algorithms.html, civil_from_days.
inline fn civil(since_2000: i32) Day {
    const eras = 15_000; // of 400 years: no day that 32 bits hold is before them
    const shifted: u64 = @intCast(@as(i64, since_2000) + 10_957 + 719_468 + eras * 146_097);
    const era: u32 = @intCast(shifted / 146_097);
    const of_era: u32 = @intCast(shifted % 146_097);
    const year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    const of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const from_march = (5 * of_year + 2) / 153;
    const month = if (from_march < 10) from_march + 3 else from_march - 9;
    const year = @as(i32, @intCast(year_of_era + era * 400)) - eras * 400 + @intFromBool(month <= 2);
    return .{ .year = year, .month = month, .day = of_year - (153 * from_march + 2) / 5 + 1 };
}

fn begin(day: Day, buffer: *[output.longest]u8) usize {
    const shown: u32 = @intCast(if (day.year > 0) day.year else 1 - day.year);
    const width = @max(4, numbers.count(shown));
    numbers.fill(buffer[0..width], shown);
    const rest = buffer[width..][0..6];
    rest[0] = '-';
    rest[1..3].* = numbers.two(day.month);
    rest[3] = '-';
    rest[4..6].* = numbers.two(day.day);
    return width + 6;
}
