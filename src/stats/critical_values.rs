//! Points of the normal and of Student's distribution.

/// The two-sided 5 % point of the normal distribution.
pub(super) const Z: f64 = 1.959_963_985;

/// The two-sided 5 % point of Student's t, by the expansion in Abramowitz and Stegun 26.7.5: within 0.1 % from 5 degrees
/// of freedom up; fewer never decide anything here.
pub(super) fn student_t(degrees: f64) -> f64 {
    let z = |power| Z.powi(power);
    Z + (z(3) + Z) / (4.0 * degrees)
        + (5.0 * z(5) + 16.0 * z(3) + 3.0 * Z) / (96.0 * degrees.powi(2))
        + (3.0 * z(7) + 19.0 * z(5) + 17.0 * z(3) - 15.0 * Z) / (384.0 * degrees.powi(3))
}

/// The chance that Student's t of so many degrees of freedom is further from 0 than `t`, on either side: the finite series
/// of Abramowitz and Stegun 26.7.3 and 26.7.4, within 1e-14.
pub(super) fn student_beyond(t: f64, degrees: usize) -> f64 {
    let angle = (t.abs() / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    let mut term = if is_odd { cosine } else { 1.0 };
    let mut sum = if degrees == 1 { 0.0 } else { term };
    for at in (if is_odd { 3 } else { 2 }..degrees).step_by(2) {
        term *= cosine * cosine * (at as f64 - 1.0) / at as f64;
        sum += term;
    }
    let within = if is_odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum };
    (1.0 - within).clamp(0.0, 1.0)
}

/// Φ(x) for x ≤ 0, by Abramowitz and Stegun 26.2.17: within 7.5e-8.
pub(super) fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 - 0.231_641_9 * x);
    let polynomial = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530]
        .into_iter()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    polynomial * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_met() {
        for (degrees, t) in [(5.0, 2.5706), (6.0, 2.4469), (10.0, 2.2281), (30.0, 2.0423)] {
            assert!((student_t(degrees) - t).abs() < 0.003, "{degrees}: {}", student_t(degrees));
        }
        for (degrees, t, beyond) in [
            (1, 12.706, 0.05),
            (2, 4.3027, 0.05),
            (3, 3.1824, 0.05),
            (5, 4.0321, 0.01),
            (6, 2.4469, 0.05),
            (11, 3.1058, 0.01),
            (30, 2.0423, 0.05),
            (30, 3.6460, 0.001),
            (1_000, 1.9623, 0.05),
        ] {
            assert!(
                (student_beyond(t, degrees) / beyond - 1.0).abs() < 1e-3,
                "{degrees}: {}",
                student_beyond(t, degrees)
            );
            assert_eq!(student_beyond(0.0, degrees), 1.0);
        }
        for (x, share) in [(0.0, 0.5), (-1.0, 0.158_655_3), (-1.959_964, 0.025), (-3.0, 0.001_349_9)] {
            assert!((normal_below(x) - share).abs() < 1e-6, "{x}: {}", normal_below(x));
        }
    }
}
