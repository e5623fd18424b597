//! Dates and timestamps of PostgreSQL (days and microseconds since 2000-01-01) as text, with DateStyle ISO.

const std = @import("std");

pub const Style = struct { separator: u8, utc: []const u8 };
pub const postgresql = Style{ .separator = ' ', .utc = "+00" };
pub const rfc3339 = Style{ .separator = 'T', .utc = "Z" };

const day_us: i64 = 86_400_000_000;

pub fn date(days: i32, buffer: *[64]u8) []const u8 {
    if (days == std.math.minInt(i32)) return "-infinity";
    if (days == std.math.maxInt(i32)) return "infinity";
    const day = civil(days);
    var at = begin(day, buffer);
    if (day.year <= 0) at = put(buffer, at, " BC");
    return buffer[0..at];
}

pub fn timestamp(micros: i64, style: Style, zone: []const u8, buffer: *[64]u8) []const u8 {
    if (micros == std.math.minInt(i64)) return "-infinity";
    if (micros == std.math.maxInt(i64)) return "infinity";
    const day = civil(@divFloor(micros, day_us));
    var at = begin(day, buffer);
    const of_day: u64 = @intCast(@mod(micros, day_us));
    const seconds = of_day / 1_000_000;
    buffer[at] = style.separator;
    at = digits(buffer, at + 1, seconds / 3600, 2);
    buffer[at] = ':';
    at = digits(buffer, at + 1, seconds / 60 % 60, 2);
    buffer[at] = ':';
    at = digits(buffer, at + 1, seconds % 60, 2);
    buffer[at] = '.';
    at = digits(buffer, at + 1, of_day % 1_000_000, 6);
    at = put(buffer, at, zone);
    if (day.year <= 0) at = put(buffer, at, " BC");
    return buffer[0..at];
}

const Day = struct { year: i64, month: u64, day: u64 };

/// Proleptic Gregorian calendar; year 0 is 1 BC. howardhinnant.github.io/date_algorithms.html, civil_from_days.
fn civil(since_2000: i64) Day {
    const shifted = since_2000 + 10_957 + 719_468;
    const era = @divFloor(shifted, 146_097);
    const of_era: u64 = @intCast(shifted - era * 146_097);
    const year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    const of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const from_march = (5 * of_year + 2) / 153;
    const month = if (from_march < 10) from_march + 3 else from_march - 9;
    const year = @as(i64, @intCast(year_of_era)) + era * 400 + @intFromBool(month <= 2);
    return .{ .year = year, .month = month, .day = of_year - (153 * from_march + 2) / 5 + 1 };
}

fn begin(day: Day, buffer: *[64]u8) usize {
    const shown: u64 = @intCast(if (day.year > 0) day.year else 1 - day.year);
    var width: usize = 4;
    var most: u64 = 10_000;
    while (shown >= most) : (most *= 10) width += 1;
    var at = digits(buffer, 0, shown, width);
    buffer[at] = '-';
    at = digits(buffer, at + 1, day.month, 2);
    buffer[at] = '-';
    return digits(buffer, at + 1, day.day, 2);
}

fn digits(buffer: *[64]u8, at: usize, value: u64, width: usize) usize {
    var rest = value;
    var place = at + width;
    while (place > at) {
        place -= 1;
        buffer[place] = '0' + @as(u8, @intCast(rest % 10));
        rest /= 10;
    }
    return at + width;
}

fn put(buffer: *[64]u8, at: usize, text: []const u8) usize {
    @memcpy(buffer[at..][0..text.len], text);
    return at + text.len;
}
