"""ROS bags of both generations."""
